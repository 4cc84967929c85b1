"""Accept or redraw: proposals of many rows against their target laws, at once.

Pure functions of tensors; the choices come in through each row's `Noise`. Letters as in the papers: `r` the target law,
`s` the law a proposal was drawn from, `x` the proposal.

What one row has to decide is a `Block`. A verification decides any number of blocks and never waits for the device:
what it decided stays there until `settling` fetches everything at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unisono.sampling.noise import Purpose
from unisono.sampling.sampler import Names, draw, last, leading, redraw
from unisono.transfer import Token, token_tensor


@dataclass(frozen=True)
class Block:
    """The first open positions of one row, as many as have a known target.

    names: of the row's choices, one for each proposal. tokens: the proposals. laws: [V] each, what the proposals were drawn
    from; None for a proposal that is treated as given. free: whether one more position is known, behind the last proposal.
    """

    names: Names
    tokens: Sequence[Token]
    laws: Sequence[Tensor | None]
    free: bool

    @property
    def known(self) -> int:
        """How many positions have a known target."""
        return len(self.tokens) + self.free


@dataclass(frozen=True)
class Decisions:
    """Per block: the first `accepted` proposals stand, and `tokens` has what follows them and voids later proposals.

    Both [B], on the device of the targets. Where all known positions are accepted, no token follows.
    """

    accepted: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Verification:
    """A named rule.

    decide: takes the targets [N, V] of all blocks, one behind the other, and the blocks. proposing: what the choice of a
    proposal is for. tokenwise: a proposal with r(x) >= s(x) stands, whatever the rest of r.
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
    """Return how much of a target is above the law of the proposal: (r - s)+, [..., V] like both."""
    return (r - s).clamp(min=0)


def residual(rest: Tensor, r: Tensor) -> Tensor:
    """Return the law of the token that replaces a rejected one: norm((r - s)+), or r where that is zero in floating point.

    Args:
        rest: the excess of r over s; both [..., V].
    """
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > 0, rest / mass, r)


class Drafts:
    """The proposals of all blocks beside their known positions; a free position has none.

    The law s of a proposal that is treated as given is one-hot, and is never made.
    """

    def __init__(self, targets: Tensor, blocks: Sequence[Block]) -> None:
        self.tokens = token_tensor(padded_tokens(blocks), targets.device)
        self._free = _free(blocks, targets)
        laws = [law for block in blocks for law in (*block.laws, *[None] * block.free)]
        drawn = [law.to(targets.device) for law in laws if law is not None]
        self._laws = torch.stack(drawn) if drawn else None  # [D, V], of the drawn ones
        places, seen = [], 0
        for law in laws:
            places.append(max(0, seen + (law is not None) - 1))
            seen += law is not None
        self._places = torch.tensor(places, device=targets.device)  # [N], where the law of each position is
        self._drawn = (
            None if len(drawn) == len(laws) else torch.tensor([law is not None for law in laws], device=targets.device)
        )

    def chances(self) -> Tensor | float:
        """Return s(x) of each known position: [N]; 1 where the proposal is given, or there is none."""
        if self._laws is None:
            return 1.0
        chances = self._laws[self._places, self.tokens]
        return chances if self._drawn is None else torch.where(self._drawn, chances, 1.0)

    def left(self, weighted: Tensor, at: Tensor) -> Tensor:
        """Return (w r - s)+ at some of the known positions: [B, V]; s is zero at a free position.

        Args:
            weighted: w r [B, V], w being 1 at most. at: which positions, [B].
        """
        if self._drawn is None and self._laws is not None:
            return excess(weighted, self._laws[self._places[at]])
        x = self.tokens[at].unsqueeze(-1)
        kept = torch.where(self._free[at].unsqueeze(-1), weighted.gather(-1, x), 0.0)
        given = weighted.scatter(-1, x, kept)
        if self._laws is None or self._drawn is None:
            return given
        drawn = excess(weighted, self._laws[self._places[at]])
        return torch.where(self._drawn[at].unsqueeze(-1), drawn, given)


def decide_tokens(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Token-by-token rejection sampling.

    `acceptance * s + (1 - total acceptance) * residual = r`, so the token committed at each position follows its target.
    A free position is one whose proposal never stands and whose `s` is zero, so that its residual is `r`.
    """
    names = [block.names for block in blocks]
    if not any(block.tokens for block in blocks):
        tokens = draw(targets, Purpose.TARGET, names)
        return Decisions(torch.zeros_like(tokens), tokens)
    drafts = Drafts(targets, blocks)
    sizes = [block.known for block in blocks]
    chances = acceptance(targets.gather(-1, drafts.tokens.unsqueeze(-1))[:, 0], drafts.chances())
    if any(block.free for block in blocks):
        chances = chances.masked_fill(_free(blocks, targets), 0)
    accepted = leading(_padded(chances, sizes), names)
    ends = _ends(accepted, sizes)
    at = targets[ends]
    rest = _behind(residual(drafts.left(at, ends), at), targets, blocks, ends)
    return Decisions(accepted, redraw(rest, accepted, names, [block.free for block in blocks]))


def decide_blocks(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Block verification (Sun et al. 2025, arXiv 2403.10444): the longest prefix that stands, of those that may.

    `w[i] = min(1, w[i-1] r(x[i]) / s(x[i]))` is how much of the target the first i proposals are worth; all i are
    tossed for, and the last one that comes up decides. The rest is drawn from `norm((w r - s)+)`. In expectation no rule
    accepts more of a chain, and token by token accepts no more.
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
    rest = _behind(residual(drafts.left(at, ends), at), targets, blocks, ends)
    return Decisions(accepted, redraw(rest, accepted, names, [block.free for block in blocks]))


def _worth(targets: Tensor, drafts: Drafts, blocks: Sequence[Block]) -> Tensor:
    """The weights w of the first i proposals of each block: float64 [B, K + 1]."""
    ratios = targets.gather(-1, drafts.tokens.unsqueeze(-1))[:, 0].double() / drafts.chances()
    ratios = ratios.nan_to_num(0).masked_fill(_free(blocks, targets), 0)
    most = max(len(block.tokens) for block in blocks)
    logs = _padded(ratios, [block.known for block in blocks])[:, :most].log().cumsum(-1)
    logs = torch.cat([torch.zeros_like(logs[:, :1]), logs], -1)
    # Products that are cut off at 1 as they go
    return (logs - logs.cummax(-1).values).exp()


def _standing(targets: Tensor, drafts: Drafts, worth: Tensor, rows: Tensor, places: Tensor, free: Tensor) -> Tensor:
    """The chance that the first i proposals of each block stand if no more do: float64 [B, K + 1]."""
    weights = worth[rows, places]
    weighted = weights.to(targets.dtype).unsqueeze(-1) * targets
    left = drafts.left(weighted, torch.arange(len(targets), device=targets.device)).sum(-1).double()
    chances = torch.where(weights < 1, left / (left + 1 - weights), 1)
    # Behind the last proposal; and where there is no law, since the text ends with an error if it gets that far
    chances = torch.where(free | targets[:, 0].isnan(), weights, chances)
    return worth.index_put((rows, places), chances)


def _places(sizes: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Of each known position of all blocks, its block and its place in it: [N] both."""
    each = [(row, place) for row, size in enumerate(sizes) for place in range(size)]
    rows, places = zip(*each, strict=True)
    return torch.tensor(rows, device=like.device), torch.tensor(places, device=like.device)


def decide_coupled(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """The token that each target draws by its position's own noise is committed; a proposal stands if it is that token.

    So the text is the one of decoding without proposals, whoever proposes what. Proposals are drawn by the same noise:
    the race of a law close to the target mostly has the target's winner.
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


def _behind(residuals: Tensor, targets: Tensor, blocks: Sequence[Block], ends: Tensor) -> Tensor:
    """The residuals [B, V]; at free positions the very targets, as where nothing is proposed."""
    if not any(block.free for block in blocks):
        return residuals
    free = _free(blocks, targets)[ends]
    return torch.where(free.unsqueeze(-1), targets[ends], residuals)


def _free(blocks: Sequence[Block], like: Tensor) -> Tensor:
    """Which known positions have no proposal: bool [N]."""
    free = [position == len(block.tokens) for block in blocks for position in range(block.known)]
    return torch.tensor(free, device=like.device)


def _ends(accepted: Tensor, sizes: Sequence[int]) -> Tensor:
    """Where, among the known positions of all blocks, the token behind the accepted ones of each block belongs: [B]."""
    lengths = torch.tensor(sizes, device=accepted.device)
    return lengths.cumsum(0) - lengths + torch.minimum(accepted, lengths - 1)


def padded_tokens(blocks: Sequence[Block]) -> list[Token]:
    """The proposals of all blocks, one per known position; 0 at a free one."""
    return [token for block in blocks for token in (*block.tokens, *[0] * block.free)]


def _padded(values: Tensor, sizes: list[int]) -> Tensor:
    """Values of blocks, one behind the other, as [B, K] with zeros behind the shorter ones."""
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
