"""Collaborative speculative decoding: a draft, and assistants that replace its tokens by their own top token.

Wang et al., "Speculate, then Collaborate", arXiv 2502.08020: the paper's rule and tree, as laws. The one idea: what the
rule does to each token the draft may say moves that token's mass, so the law of the outcome is known, and any schedule
can sample it. Rules read probabilities at temperature 1; the mass that is moved is warped.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, Heard, Logits, finite
from unisono.combine.tree import Tree, read_tree
from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp

ROUNDING = 1e-6  # a law computed in another batch may differ by so much


class Fusion(Combination):
    """A draft (member 0) whose tokens the first assistant replaces whose rule fires; later ones are not asked."""

    leading = 1.0

    @abstractmethod
    def replaces(self, draft: Tensor, assistant: Tensor) -> Tensor:
        """Whether the assistant replaces a token: bool, broadcast of both arguments.

        Args:
            draft: the draft's probabilities [..., V]. assistant: the assistant's of its own top token [..., 1].
        """

    @abstractmethod
    def replaceable(self, draft: Tensor) -> Tensor:
        """Whether some assistant may replace a token of these probabilities: bool [..., V]."""

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        settled, open_mass = self._move(logits, warp, warp(logits[0]))
        law = settled + open_mass
        return torch.where(open_mass.isnan().any(-1, keepdim=True), torch.nan, law)

    def check(self, members: int) -> None:
        if members < 2:
            raise ConfigurationError(f"{self.name} takes the draft and at least one assistant, not: {members} member")

    def opener(self) -> int:
        return 0

    def early(self, warp: AnyWarp) -> bool:
        return True

    def fixed(self, heard: Heard, warp: AnyWarp) -> Tensor:
        if heard[0] is None or all(member is not None for member in heard):
            return super().fixed(heard, warp)
        said = heard[: heard.index(None)]
        mass = (warp.untempered() if warp.greedy else warp)(heard[0])
        settled, rest = self._move([member for member in said if member is not None], warp, mass)
        open_mass = torch.where(self.replaceable(torch.softmax(heard[0], -1)), rest, 0.0)
        undecided = open_mass.sum(-1)
        if not warp.greedy:
            return undecided == 0
        # All undecided mass may end on one token: the largest must lead by more
        best = (settled + rest - open_mass).topk(2, -1).values
        return best[..., 0] - best[..., 1] > undecided + ROUNDING

    def certain(self, heard: Heard, warp: AnyWarp, tokens: Tensor, laws: Tensor) -> Tensor:
        if heard[0] is None or warp.greedy:
            return super().certain(heard, warp, tokens, laws)
        x = tokens.unsqueeze(-1)
        kept = ~self.replaceable(torch.softmax(heard[0], -1)).gather(-1, x)
        enough = warp(heard[0]).gather(-1, x) >= laws.gather(-1, x) * (1 - ROUNDING)
        return (kept & enough).squeeze(-1)

    def _move(self, logits: Logits, warp: AnyWarp, mass: Tensor) -> tuple[Tensor, Tensor]:
        """What the assistants among `logits` make of the draft's warped mass [..., V]: (moved to them, left in place)."""
        draft, moved = torch.softmax(logits[0], -1), torch.zeros_like(mass)
        for member in logits[1:]:
            # Its top token among those that edits allow; where they allow none, that is nan, and no rule fires
            top = warp.untempered()(member).max(-1, keepdim=True)
            probability = torch.softmax(member, -1).gather(-1, top.indices)
            fires = self.replaces(draft, probability) & ~top.values.isnan()
            fires = fires.scatter(-1, top.indices, False)
            moved = moved.scatter_add(-1, top.indices, torch.where(fires, mass, 0.0).sum(-1, keepdim=True))
            mass = mass.masked_fill(fires, 0.0) + 0 * probability  # nan if the assistant's scores are
        return moved, mass


@dataclass(frozen=True)
class Cosd(Fusion):
    """See `cosd`."""

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
    """CoSD-Rule: the draft's token x becomes the assistant's top token y iff `x != y`, `p_draft(x) < alpha` and
    `p_assistant(y) > beta p_draft(x)` (arXiv 2502.08020). The draft is listed first.

    As a law: `r(v) = q(v) keep(v) + 1[v = y] sum_u q(u) (1 - keep(u))`. With several assistants, the first whose rule
    fires moves the token.

    Raises:
        ConfigurationError: alpha or beta is negative or not finite.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if finite(name, value) < 0:
            raise ConfigurationError(f"{name} must be 0 or more, not: {value}")
    return Cosd(float(alpha), float(beta))


@dataclass(frozen=True)
class CosdTree(Fusion):
    """See `cosd_tree`."""

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
    """CoSD-Tree: a decision tree on `(p_draft(x), p_assistant(y))` says which tokens are replaced (arXiv 2502.08020).

    Args:
        file: JSON as `unisono fit-tree` writes it.

    Raises:
        ConfigurationError: the file cannot be read or holds no such tree.
    """
    return CosdTree(str(file), read_tree(file))
