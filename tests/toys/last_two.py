"""A law that depends on the last two tokens in front of a position."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine import Combination, Positions
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class LastTwo(Combination):
    """A mixture of two members; the last two tokens give the weight of the first one."""

    name = "last_two"
    reads = frozenset({"tokens"})

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        shares = [(1 + sum((2 - place) * (token % 3) for place, token in enumerate(text[:-3:-1]))) / 8
                  for text in positions.tokens]  # fmt: skip
        first, second = (each.law for each in positions.scores)
        return second + torch.tensor(shares).to(first).unsqueeze(-1) * (first - second)
