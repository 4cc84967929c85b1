"""Verification: accept or reject the proposals of many rows, given their target laws.

The functions here are pure functions of tensors and of each row's `Noise`. The letters are those of the papers: `r` is
the target law, `s` is the law that a proposal was drawn from, `x` is the proposal.

The undecided positions of one row form a `Block`. A verification decides any number of blocks without waiting for the
device. The module `settling` fetches all decisions from the device together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unisono.sampling.noise import Purpose
from unisono.sampling.sampler import Names, draw, last, leading, redraw
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


@dataclass(frozen=True)
class Verification:
    """A named rule that accepts or rejects proposals.

    decide: a function that takes the concatenated targets [N, V] of all blocks and the list of blocks. proposing: the
    purpose of the noise that draws proposals. tokenwise: whether every proposal with r(x) >= s(x) is accepted.
    """

    name: str
    decide: Callable[[Tensor, Sequence[Block]], Decisions]
    proposing: Purpose = Purpose.PROPOSE
    tokenwise: bool = False


def acceptance(r: Tensor, s: Tensor | float) -> Tensor:
    """Return the probability of accepting each proposal: min(1, r(x) / s(x)) (Leviathan et al. 2023, algorithm 1).

    Args:
        r, s: r(x) and s(x) of each proposal, [K]; s(x) > 0.
    """
    return (r / s).clamp(max=1)


def excess(r: Tensor, s: Tensor) -> Tensor:
    """Return the positive part of the target minus the law of the proposal: (r - s)+. All shapes are [..., V]."""
    return (r - s).clamp(min=0)


def residual(rest: Tensor, r: Tensor) -> Tensor:
    """Return the law of the token after a rejection: (r - s)+ divided by its sum, or r if the sum is 0.

    Args:
        rest: the excess (r - s)+; the shape of `rest` and `r` is [..., V].
    """
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > 0, rest / mass, r)


class Drafts:
    """The proposals and their laws, with one entry per known position of all blocks.

    A free position is after the last proposal of a block and has no proposal. The laws of given proposals are not kept.
    """

    def __init__(self, targets: Tensor, blocks: Sequence[Block]) -> None:
        device = targets.device
        self.tokens = token_tensor(padded_tokens(blocks), device)
        self.free = _free(blocks, targets) if any(block.free for block in blocks) else None  # [N], bool
        laws = [law for block in blocks for law in (*block.laws, *[None] * block.free)]
        drawn = [law.to(device) for law in laws if law is not None]
        self._laws = torch.stack(drawn) if drawn else None  # [D, V], the laws of drawn proposals
        given = len(drawn) < sum(len(block.laws) for block in blocks)
        self._drawn = torch.tensor([law is not None for law in laws], device=device) if given else None
        self._places: Tensor | None = (
            None  # [N], for each position, the index of its law in `_laws`; None if the two indices are equal
        )
        if len(drawn) < len(laws):
            counts = accumulate(law is not None for law in laws)
            self._places = torch.tensor([max(0, count - 1) for count in counts], device=device)

    def chances(self) -> Tensor | float:
        """Return a tensor [N] with s(x) at each known position; 1.0 if s(x) is 1 at all positions.

        A given proposal has s(x) = 1. At a free position, the number has no meaning.
        """
        if self._laws is None:
            return 1.0
        if self._places is None:
            return self._laws.gather(-1, self.tokens.unsqueeze(-1))[:, 0]
        chances = self._laws[self._places, self.tokens]
        return chances if self._drawn is None else torch.where(self._drawn, chances, 1.0)

    def left(self, weighted: Tensor, at: Tensor) -> Tensor:
        """Return a tensor [B, V] with (w r - s)+ at the positions `at`. The values at free positions have no meaning.

        Args:
            weighted: the products w r [B, V], where w is at most 1. at: the indices of the positions, [B].
        """
        if self._laws is None or self._drawn is not None:
            given = weighted.scatter(-1, self.tokens[at].unsqueeze(-1), 0.0)
            if self._laws is None or self._drawn is None:
                return given
        drawn = excess(weighted, self._laws[at if self._places is None else self._places[at]])
        return drawn if self._drawn is None else torch.where(self._drawn[at].unsqueeze(-1), drawn, given)

    def behind(self, rest: Tensor, targets: Tensor, at: Tensor) -> Tensor:
        """Return a tensor [B, V]: `targets` where the positions `at` are free, `rest` at all other positions."""
        return rest if self.free is None else torch.where(self.free[at].unsqueeze(-1), targets, rest)


def decide_tokens(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Decide each block by token-by-token rejection sampling (Leviathan et al. 2023).

    Each committed token follows its target law, because `acceptance * s + (1 - total acceptance) * residual = r`. At a
    free position, the token is drawn from `r`.
    """
    names = [block.names for block in blocks]
    if not any(block.tokens for block in blocks):
        tokens = draw(targets, Purpose.TARGET, names)
        return Decisions(torch.zeros_like(tokens), tokens)
    drafts = Drafts(targets, blocks)
    sizes = [block.known for block in blocks]
    chances = acceptance(targets.gather(-1, drafts.tokens.unsqueeze(-1))[:, 0], drafts.chances())
    if drafts.free is not None:
        chances = chances.masked_fill(drafts.free, 0)
    accepted = leading(_padded(chances, sizes), names)
    ends = _ends(accepted, sizes)
    at = targets[ends]
    rest = drafts.behind(residual(drafts.left(at, ends), at), at, ends)
    return Decisions(accepted, redraw(rest, accepted, names, [block.free for block in blocks]))


def decide_blocks(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Decide each block by block verification (Sun et al. 2025, arXiv 2403.10444).

    The first i proposals have the weight `w[i] = min(1, w[i-1] r(x[i]) / s(x[i]))`. One random number per i decides
    whether i is a candidate. The number of accepted proposals is the largest candidate. The next token is drawn from
    `(w r - s)+` divided by its sum. No other exact rule accepts more tokens of a single draft in expectation.
    """
    names = [block.names for block in blocks]
    if not any(block.tokens for block in blocks):
        tokens = draw(targets, Purpose.TARGET, names)
        return Decisions(torch.zeros_like(tokens), tokens)
    drafts = Drafts(targets, blocks)
    sizes = [block.known for block in blocks]
    worth = _worth(targets, drafts, blocks)
    rows, places = _places(sizes, targets)
    accepted = last(_standing(targets, drafts, worth, rows, places, _free(blocks, targets))[:, 1:], names)
    ends = _ends(accepted, sizes)
    weights = worth.gather(-1, accepted.unsqueeze(-1)).to(targets.dtype)
    at = weights * targets[ends]
    rest = drafts.behind(residual(drafts.left(at, ends), at), targets[ends], ends)
    return Decisions(accepted, redraw(rest, accepted, names, [block.free for block in blocks]))


def _worth(targets: Tensor, drafts: Drafts, blocks: Sequence[Block]) -> Tensor:
    """Return a float64 tensor [B, K + 1]. Entry i of a row is the weight of the first i proposals of one block."""
    ratios = targets.gather(-1, drafts.tokens.unsqueeze(-1))[:, 0].double() / drafts.chances()
    ratios = ratios.nan_to_num(0).masked_fill(_free(blocks, targets), 0)
    most = max(len(block.tokens) for block in blocks)
    logs = _padded(ratios, [block.known for block in blocks])[:, :most].log().cumsum(-1)
    logs = torch.cat([torch.zeros_like(logs[:, :1]), logs], -1)
    # The products are limited to 1 after each factor
    return (logs - logs.cummax(-1).values).exp()


def _standing(targets: Tensor, drafts: Drafts, worth: Tensor, rows: Tensor, places: Tensor, free: Tensor) -> Tensor:
    """Return a float64 tensor [B, K + 1]. Entry i of a row is a conditional probability for one block.

    It is the probability that exactly i proposals are accepted, given that at most i proposals are accepted.
    """
    weights = worth[rows, places]
    weighted = weights.to(targets.dtype).unsqueeze(-1) * targets
    left = drafts.left(weighted, torch.arange(len(targets), device=targets.device)).sum(-1).double()
    chances = torch.where(weights < 1, left / (left + 1 - weights), 1)
    # The chance is the weight at a free position, and if no token is possible. In the second case the row later fails
    chances = torch.where(free | targets[:, 0].isnan(), weights, chances)
    return worth.index_put((rows, places), chances)


def _places(sizes: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    each = [(row, place) for row, size in enumerate(sizes) for place in range(size)]
    rows, places = zip(*each, strict=True)
    return torch.tensor(rows, device=like.device), torch.tensor(places, device=like.device)


def decide_coupled(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Decide each block by coupling: draw a token from each target law, and accept the proposals that equal it.

    The draw uses noise that depends only on the position. So the text does not depend on the proposals. Proposals are
    drawn with the same noise, so a proposal from a law close to the target law is usually equal to the target's token.
    """
    sizes = [block.known for block in blocks]
    winners = draw(targets, Purpose.TARGET, [name for block in blocks for name in _each_position(block)])
    stands = winners == token_tensor(padded_tokens(blocks), targets.device)
    stands &= ~(targets[:, 0].isnan() | _free(blocks, targets))
    accepted = _padded(stands.long(), sizes).cumprod(-1).sum(-1)
    return Decisions(accepted, winners[_ends(accepted, sizes)])


def _each_position(block: Block) -> list[Names]:
    first = block.names
    positions = range(first.position, first.position + block.known)
    return [replace(first, position=position, count=1) for position in positions]


def _free(blocks: Sequence[Block], like: Tensor) -> Tensor:
    free = [position == len(block.tokens) for block in blocks for position in range(block.known)]
    return torch.tensor(free, device=like.device)


def _ends(accepted: Tensor, sizes: Sequence[int]) -> Tensor:
    lengths = torch.tensor(sizes, device=accepted.device)
    return lengths.cumsum(0) - lengths + torch.minimum(accepted, lengths - 1)


def padded_tokens(blocks: Sequence[Block]) -> list[Token]:
    """Return the proposals of all blocks, one token per known position, with 0 at free positions."""
    return [token for block in blocks for token in (*block.tokens, *[0] * block.free)]


def _padded(values: Tensor, sizes: list[int]) -> Tensor:
    if len(set(sizes)) == 1:
        return values.view(len(sizes), -1)
    return pad_sequence(list(torch.split(values, sizes)), batch_first=True)


VERIFICATIONS = {
    each.name: each
    for each in (
        Verification("token", decide_tokens, tokenwise=True),
        Verification("block", decide_blocks),
        Verification("coupled", decide_coupled, Purpose.TARGET),
    )
}
