"""A gate on the hidden state of one member, and a member whose hidden states are a function of all that it has read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.core.helpers import STATES, HistoryMember
from unisono.combine import Combination, Positions
from unisono.members.base import Scores, Work
from unisono.sampling.warp import AnyWarp

WIDTH = 4
TABLE = torch.randn(STATES, WIDTH, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class FeatureMember(HistoryMember):
    """Gives features where they are asked for."""

    width = WIDTH

    def score(self, work: Sequence[Work]) -> list[Scores]:
        return [self._with_features(item, said) for item, said in zip(work, super().score(work), strict=True)]

    def features(self, prefix: Sequence[int]) -> Tensor:
        """The features [D] behind a prefix, by definition."""
        state = self.parameters
        for token in prefix:
            state = (17 * state + token + 1) % STATES
        return TABLE[state]

    def _with_features(self, item: Work, said: Scores) -> Scores:
        if not item.features:
            return said
        held = self._slots[item.slot]
        found = [self.features(held[:end]) for end in range(len(held) - item.keep + 1, len(held) + 1)]
        return Scores(said.logits, features=torch.stack(found) if found else TABLE[:0])


@dataclass(frozen=True)
class FeatureGate(Combination):
    """A mixture of two members; the features of one of them give the weight of the first one."""

    by: int = 0
    name = "feature_gate"
    reads = frozenset({"features"})

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        share = torch.sigmoid(positions.features[self.by].sum(-1, keepdim=True))
        first, second = (each.law for each in positions.scores)
        return second + share.to(first) * (first - second)
