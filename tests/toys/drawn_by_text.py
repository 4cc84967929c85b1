"""Laws of drawn members whose odds read the text."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine import Combination, Positions


@dataclass(frozen=True)
class DrawnByText(Combination):
    """Draws one of two members; the last token gives the odds."""

    name = "drawn_by_text"
    reads = frozenset({"tokens"})
    drawn_by = ()

    def odds(self, positions: Positions) -> Tensor:
        shares = torch.tensor([_share(text) for text in positions.tokens], dtype=torch.float64)
        return torch.stack([shares, 1 - shares], -1)


@dataclass(frozen=True)
class DrawnByFirst(Combination):
    """Draws one of two members; the last token, and how sure the first member is, give the odds."""

    name = "drawn_by_first"
    reads = frozenset({"tokens"})
    drawn_by = (0,)

    def odds(self, positions: Positions) -> Tensor:
        sure = positions.scores[0].raw.amax(-1)
        shares = torch.tensor([_share(text) for text in positions.tokens]).to(sure) * sure
        return torch.stack([shares, 1 - shares], -1)


def _share(text: object) -> float:
    tokens = list(text)  # type: ignore[call-overload]
    return (0.9, 0.2, 0.5)[tokens[-1] % 3] if tokens else 0.4
