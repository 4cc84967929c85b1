"""The mixture of the members' laws of whole texts: members are weighted by how well they predicted the text so far."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine import Combination, Positions
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class Bayes(Combination):
    """The law of a text is `sum_i w_i P_i(text)`."""

    weights: tuple[float, ...] = (0.6, 0.4)
    name = "bayes"
    reads = frozenset({"loglikelihood"})

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        logs = torch.stack([self.evidence(positions, member) for member in range(len(self.weights))], -1)
        shares = torch.softmax(logs + torch.tensor(self.weights, dtype=torch.float64).log().to(logs), -1)
        laws = torch.stack([each.law for each in positions.scores])
        return (shares.T.unsqueeze(-1).to(laws) * laws).sum(0)

    def evidence(self, positions: Positions, member: int) -> Tensor:
        """The member's log-likelihood of each text: [N]."""
        return torch.stack([values.sum() for values in positions.loglikelihood[member]])


class BayesOfAll(Bayes):
    """Counts the members' prompts too, each its own."""

    name = "bayes_of_all"
    reads = frozenset({"loglikelihood", "prompt_loglikelihood"})

    def evidence(self, positions: Positions, member: int) -> Tensor:
        prompts = torch.stack([values.sum() for values in positions.prompt_loglikelihood[member]])
        return super().evidence(positions, member) + prompts
