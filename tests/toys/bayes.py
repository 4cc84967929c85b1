"""The mixture of the members' laws of whole texts: members are weighted by how well they predicted the text so far."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine import Combination, Positions
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class Bayes(Combination):
    """The law of a text is `sum_i w_i P_i(text)`.

    prompt: whether the members' log-likelihoods of their prompts count too.
    """

    weights: tuple[float, ...] = (0.6, 0.4)
    prompt: bool = False
    name = "bayes"
    reads = frozenset({"loglikelihood"})

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        logs = torch.stack([_sums(each) for each in positions.loglikelihood], -1)
        if self.prompt:
            logs = logs + torch.stack([_sums(each) for each in positions.prompt_loglikelihood], -1)
        shares = torch.softmax(logs + torch.tensor(self.weights).to(logs).log(), -1)
        laws = torch.stack([each.law for each in positions.scores])
        return (shares.T.unsqueeze(-1).to(laws) * laws).sum(0)


def _sums(texts: object) -> Tensor:
    return torch.stack([values.sum() for values in texts])  # type: ignore[attr-defined]
