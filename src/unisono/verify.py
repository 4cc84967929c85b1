"""Accept or redraw: proposals of many rows against their target laws, at once.

Pure functions of tensors; the choices come in through each row's `Noise`. Letters as in the papers: `r` the target law,
`s` the law a proposal was drawn from, `x` the proposal.

What one row has to decide is a `Block`. A verification decides any number of blocks and never waits for the device:
what it decided stays there until `settling` fetches everything at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unisono.choices import Names, draw, leading, redraw
from unisono.errors import unknown
from unisono.rng import Purpose
from unisono.transfer import Token, token_tensor


@dataclass(frozen=True)
class Block:
    """The first open positions of one row, as many as have a known target.

    names: of the row's choices, one for each proposal. tokens: the proposals. laws: [V] each, what they
    were drawn from. free: whether one more position is known, behind the last proposal.
    """

    names: Names
    tokens: Sequence[Token]
    laws: Sequence[Tensor]
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
    """A named rule. decide: takes the targets [N, V] of all blocks, one behind the other, and the blocks."""

    name: str
    decide: Callable[[Tensor, Sequence[Block]], Decisions]


def acceptance(r: Tensor, s: Tensor, x: Tensor) -> Tensor:
    """Probability of accepting each proposal: min(1, r(x) / s(x)) (Leviathan et al. 2023, algorithm 1).

    Args:
        r, s: laws [K, V]. x: proposals [K], each with s(x) > 0.
    """
    x = x.unsqueeze(-1)
    return (r.gather(-1, x) / s.gather(-1, x)).squeeze(-1).clamp(max=1)


def residual(r: Tensor, s: Tensor) -> Tensor:
    """Law of the token that replaces a rejected one: norm((r - s)+), or r where that is zero in floating point."""
    rest = (r - s).clamp(min=0)
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > 0, rest / mass, r)


def decide_tokens(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Token-by-token rejection sampling.

    `acceptance * s + (1 - total acceptance) * residual = r`, so the token committed at each position follows its target.
    A free position is one whose proposal never stands and whose `s` is zero, so that its residual is `r`.
    """
    names = [block.names for block in blocks]
    if not any(block.tokens for block in blocks):
        tokens = draw(targets, Purpose.TARGET, names)
        return Decisions(torch.zeros_like(tokens), tokens)
    laws, sizes = _stacked_laws(targets, blocks), [block.known for block in blocks]
    chances = acceptance(targets, laws, token_tensor(padded_tokens(blocks), targets.device))
    if any(block.free for block in blocks):
        free = [position == len(block.tokens) for block in blocks for position in range(block.known)]
        chances = chances.masked_fill(torch.tensor(free, device=targets.device), 0)
    accepted = leading(_padded(chances, sizes), names)
    lengths = torch.tensor(sizes, device=targets.device)
    ends = lengths.cumsum(0) - lengths + torch.minimum(accepted, lengths - 1)
    rest = residual(targets[ends], laws[ends])
    return Decisions(accepted, redraw(rest, accepted, names, [block.free for block in blocks]))


def padded_tokens(blocks: Sequence[Block]) -> list[Token]:
    """The proposals of all blocks, one per known position; 0 at a free one."""
    return [token for block in blocks for token in (*block.tokens, *[0] * block.free)]


def _padded(values: Tensor, sizes: list[int]) -> Tensor:
    """Values of blocks, one behind the other, as [B, K] with zeros behind the shorter ones."""
    if len(set(sizes)) == 1:
        return values.view(len(sizes), -1)
    return pad_sequence(list(torch.split(values, sizes)), batch_first=True)


def _stacked_laws(targets: Tensor, blocks: Sequence[Block]) -> Tensor:
    """What the proposals were drawn from, one per known position; zeros at a free one: [N, V]."""
    nothing = torch.zeros_like(targets[0])
    each = [law for block in blocks for law in (*block.laws, *[nothing] * block.free)]
    return torch.stack([law.to(targets.device) for law in each])


VERIFICATIONS = {each.name: each for each in (Verification("token", decide_tokens),)}


def parse(name: str) -> Verification:
    """The verification of that name; "auto" is the best one there is.

    Raises:
        ConfigurationError: there is no such verification.
    """
    if name != "auto" and name not in VERIFICATIONS:
        raise unknown("verification", name, ["auto", *VERIFICATIONS])
    return VERIFICATIONS["token" if name == "auto" else name]
