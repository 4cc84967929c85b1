"""The open positions that a verification decides: the proposals, and the laws that they were drawn from.

The letters are those of the papers: `r` is the target law, `s` is the law that a proposal was drawn from, `x` is the
proposal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from unisono import transfer
from unisono.sampling.sampler import Names
from unisono.transfer import Token, token_tensor


@dataclass(frozen=True)
class Block:
    """The open positions of one row, from the first one up to the first one whose target law is not known.

    names: the noise keys, one for each proposal. tokens: the proposals. laws: for each proposal, the law [V] that it
    was drawn from; None for a given proposal. free: whether the target after the last proposal is known too.
    """

    names: Names
    tokens: Sequence[Token]
    laws: Sequence[Tensor | None]
    free: bool

    @property
    def known(self) -> int:
        """The number of positions with a known target."""
        return len(self.tokens) + self.free


@dataclass(frozen=True)
class Decisions:
    """The decisions about B blocks, as tensors [B] on the device of the targets.

    accepted: the number of accepted proposals. tokens: the token after the accepted proposals, which replaces all later
    proposals. An entry of `tokens` has no meaning if all known positions are accepted.
    """

    accepted: Tensor
    tokens: Tensor


def excess(r: Tensor, s: Tensor) -> Tensor:
    """Return the positive part of the target minus the law of the proposal: (r - s)+. All shapes are [..., V]."""
    return (r - s).clamp_(min=0)


class Drafts:
    """The proposals and their laws, with one entry per known position of all blocks.

    A free position is after the last proposal of a block and has no proposal. The laws of given proposals are not kept.
    """

    def __init__(self, targets: Tensor, blocks: Sequence[Block]) -> None:
        device = targets.device
        self.tokens = token_tensor(padded_tokens(blocks), device)
        self.free = free_positions(blocks, targets) if any(block.free for block in blocks) else None  # [N], bool
        laws = [law for block in blocks for law in (*block.laws, *[None] * block.free)]
        drawn = [law.to(device) for law in laws if law is not None]
        self._each = drawn  # the laws of drawn proposals
        # The host reads single entries and rows of the laws, a device all of them at once: [D, V]
        self._stacked = torch.stack(drawn) if drawn and not transfer.on_host(targets) else None
        given = len(drawn) < sum(len(block.laws) for block in blocks)
        self._drawn = torch.tensor([law is not None for law in laws], device=device) if given else None
        # [N], for each position, the index of its law in `_each`; None if the two indices are equal
        self._places: Tensor | None = None
        if len(drawn) < len(laws):
            counts = accumulate(law is not None for law in laws)
            self._places = torch.tensor([max(0, count - 1) for count in counts], device=device)

    def chances(self) -> Tensor | float:
        """Return s(x) for the proposal x at each known position: a tensor [N], or 1.0 if s(x) is 1 for all proposals.

        s is the law that x was drawn from. A proposal without a law has s(x) = 1. For a position without a proposal,
        the number has no meaning.
        """
        if not self._each:
            return 1.0
        if self._stacked is None:
            places = range(len(self.tokens)) if self._places is None else self._places.tolist()
            pairs = zip(places, self.tokens.tolist(), strict=True)
            chances = torch.stack([self._each[place][token] for place, token in pairs])
        elif self._places is None:
            chances = self._stacked.gather(-1, self.tokens.unsqueeze(-1))[:, 0]
        else:
            chances = self._stacked[self._places, self.tokens]
        return chances if self._drawn is None else torch.where(self._drawn, chances, 1.0)

    def left(self, weighted: Tensor, at: Tensor) -> Tensor:
        """Return a tensor [B, V] with (w r - s)+ at the positions `at`. The values at free positions have no meaning.

        Args:
            weighted: the products w r [B, V], where w is at most 1. at: the indices of the positions, [B].
        """
        if not self._each or self._drawn is not None:
            given = weighted.scatter(-1, self.tokens[at].unsqueeze(-1), 0.0)
            if not self._each or self._drawn is None:
                return given
        places = at if self._places is None else self._places[at]
        if self._stacked is not None:
            laws = self._stacked[places]
        else:
            chosen = [self._each[place] for place in places.tolist()]
            laws = chosen[0].unsqueeze(0) if len(chosen) == 1 else torch.stack(chosen)
        drawn = excess(weighted, laws)
        return drawn if self._drawn is None else torch.where(self._drawn[at].unsqueeze(-1), drawn, given)

    def behind(self, rest: Tensor, targets: Tensor, at: Tensor) -> Tensor:
        """Return a tensor [B, V]: `targets` where the positions `at` are free, `rest` at all other positions."""
        return rest if self.free is None else torch.where(self.free[at].unsqueeze(-1), targets, rest)


def free_positions(blocks: Sequence[Block], like: Tensor) -> Tensor:
    free = [position == len(block.tokens) for block in blocks for position in range(block.known)]
    return torch.tensor(free, device=like.device)


def padded_tokens(blocks: Sequence[Block]) -> list[Token]:
    """Return the proposals of all blocks, one token per known position, with 0 at free positions."""
    return [token for block in blocks for token in (*block.tokens, *[0] * block.free)]
