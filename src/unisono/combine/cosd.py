"""Collaborative speculative decoding: an assistant may replace a token of the draft model by the assistant's top token.

The method is from Wang et al., "Speculate, then Collaborate", arXiv 2502.08020. In this module, the paper's rule and
the paper's tree define a target law, which any schedule can sample. If an assistant replaces a token of the draft
model, the probability of this token moves to the assistant's most probable token. Rules read probabilities at
temperature 1 without edits. The probabilities that move are warped.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Traits, finite
from unisono.combine.early import EarlyCombination
from unisono.combine.positions import MemberScores, Positions
from unisono.combine.tree import Tree, read_tree
from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp, Warp

ROUNDING = 1e-6  # laws that are computed in different batches may differ by this much


class Fusion(EarlyCombination):
    """A combination of a draft model (member 0) and assistants.

    The first assistant whose rule applies to a token of the draft model replaces this token.
    """

    @abstractmethod
    def replaces(self, draft: Tensor, assistant: Tensor) -> Tensor:
        """Return which tokens of the draft model the assistant replaces: bool [N, V].

        Args:
            draft: the draft model's probabilities [N, V].
            assistant: the probability that the assistant gives its most probable token [N, 1].
        """

    @abstractmethod
    def replaceable(self, draft: Tensor) -> Tensor:
        """Return which tokens an assistant could replace: bool [N, V]. `draft`: the draft model's probabilities."""

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        moved, kept = self._move(positions.scores, warp)
        return torch.where(kept.isnan().any(-1, keepdim=True), torch.nan, moved + kept)

    def check(self, members: int) -> None:
        if members < 2:
            raise ConfigurationError(f"{self.name} takes the draft and at least one assistant, not: {members} member")

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(certainty=self, opener=0, weights=(1.0,))

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return at which positions the assistants that have not scored cannot change the law: bool [N]."""
        scores, heard = positions.scores, positions.heard
        count = next((member for member in range(len(scores)) if member not in heard), len(scores))
        if count in (0, len(scores)):
            return super().fixed(positions, warp)
        moved, kept = self._move(scores[:count], warp)
        undecided = torch.where(self.replaceable(scores[0].raw), kept, 0.0)
        total = undecided.sum(-1)
        if not warp.greedy:
            return total == 0
        # All undecided mass could move to one token, so the best token must lead by more than this mass
        best = (moved + kept - undecided).topk(2, -1).values
        return best[..., 0] - best[..., 1] > total + ROUNDING

    def certain(self, positions: Positions, warp: AnyWarp, tokens: Tensor, chances: Tensor) -> Tensor:
        """Return which proposals are accepted for all possible scores of the assistants: bool [N].

        These are the proposals that no assistant can replace and that have at least the probability `chances` in the
        draft model's law.
        """
        if 0 not in positions.heard or warp.greedy:
            return super().certain(positions, warp, tokens, chances)
        draft, x = positions.scores[0], tokens.unsqueeze(-1)
        kept = ~self.replaceable(draft.raw).gather(-1, x)
        enough = draft.law.gather(-1, x) >= chances.unsqueeze(-1) * (1 - ROUNDING)
        return (kept & enough).squeeze(-1)

    def _move(self, scores: Sequence[MemberScores], warp: AnyWarp) -> tuple[Tensor, Tensor]:
        """Return two parts of the target law, each [N, V]: the moved probability and the remaining probability."""
        draft, mass = scores[0].raw, scores[0].law
        moved = torch.zeros_like(mass)
        for member in scores[1:]:
            # If edits allow no token of the assistant, its top probability is nan, and it replaces no token
            top = _allowed(member, warp).max(-1, keepdim=True)
            probability = member.raw.gather(-1, top.indices)
            replaced = self.replaces(draft, probability) & ~top.values.isnan()
            replaced = replaced.scatter(-1, top.indices, False)
            moved = moved.scatter_add(-1, top.indices, torch.where(replaced, mass, 0.0).sum(-1, keepdim=True))
            mass = mass.masked_fill(replaced, 0.0) + 0 * probability  # nan if the assistant's scores are nan
        return moved, mass


def _allowed(member: MemberScores, warp: AnyWarp) -> Tensor:
    """Return the member's law at temperature 1, with edits and without truncation: [N, V]."""
    plain = warp.untempered()
    if plain == Warp():
        return member.raw
    return member.law if warp.greedy or warp == plain else plain(member.logits)


@dataclass(frozen=True)
class Cosd(Fusion):
    """The combination that `cosd` returns."""

    alpha: float
    beta: float

    @property
    def name(self) -> str:
        return f"cosd:alpha={self.alpha:g},beta={self.beta:g}"

    def replaces(self, draft: Tensor, assistant: Tensor) -> Tensor:
        return (draft < self.alpha) & (assistant > self.beta * draft)

    def replaceable(self, draft: Tensor) -> Tensor:
        return draft < self.alpha


def cosd(alpha: float = 0.5, beta: float = 0.5) -> Cosd:
    """Return CoSD-Rule (arXiv 2502.08020). The first member is the draft model, the other members are assistants.

    The assistant's most probable token y replaces a token x of the draft model if `x != y`, `p_draft(x) < alpha` and
    `p_assistant(y) > beta p_draft(x)`. The law is `r(v) = q(v) keep(v) + 1[v = y] sum_u q(u) (1 - keep(u))`. Here q is
    the draft model's law, and keep(v) is 0 if v is replaced, else 1. With several assistants, a token is replaced by
    the first assistant whose rule applies to the token.

    Raises:
        ConfigurationError: alpha or beta is negative or not finite.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if finite(name, value) < 0:
            raise ConfigurationError(f"{name} must be 0 or more, not: {value}")
    return Cosd(float(alpha), float(beta))


@dataclass(frozen=True)
class CosdTree(Fusion):
    """The combination that `cosd_tree` returns."""

    file: str
    tree: Tree

    @property
    def name(self) -> str:
        return f"cosd_tree:{self.file}"

    def replaces(self, draft: Tensor, assistant: Tensor) -> Tensor:
        return self.tree(draft, assistant)

    def replaceable(self, draft: Tensor) -> Tensor:
        return self.tree(draft, None)


def cosd_tree(file: str) -> CosdTree:
    """Return CoSD-Tree (arXiv 2502.08020). The first member is the draft model, the other members are assistants.

    A decision tree decides from `(p_draft(x), p_assistant(y))` whether the assistant's most probable token y replaces a
    token x of the draft model.

    Args:
        file: the path of a JSON file with a tree, written by `unisono fit-tree`.

    Raises:
        ConfigurationError: the file cannot be read, or does not contain a tree.
    """
    return CosdTree(str(file), read_tree(file))
