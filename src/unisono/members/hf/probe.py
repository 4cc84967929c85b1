"""Does a member repeat its own model? Asked once, when it is made.

Some causal models accept a cache and ignore it, keep a state of their own, or look at later tokens; all of these decode
to nonsense without an error. A few tokens scored in pieces, beside another row and with a rollback, must give what one
plain forward gives.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from unisono.errors import MemberError
from unisono.members.base import Context, Member, Work
from unisono.members.hf.stand_in import stand_in, window

TOKENS = 6
SHORT_WINDOW = 64  # tokens; beyond a window of at most so many the model itself is tried


class Modelled(Member, Protocol):
    """A member that is made of a transformers model."""

    model: Any

    def __init__(self, model: Any, name: str) -> None: ...

    @property
    def masked(self) -> bool:
        """Whether rows share a forward, under masks that the member makes."""
        ...


def require_faithful(member: Modelled) -> None:
    """Raise MemberError if the member's scores are not those of its model."""
    kind = member.model.config.model_type
    try:
        difference = _difference(member)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MemberError(f"member {member.name} cannot be decoded with a cache: {kind} ({reason})") from error
    if math.isnan(difference):
        raise MemberError(
            f"member {member.name} gives scores that are not numbers: broken weights, or too small a dtype"
        )
    if not difference <= _tolerance(member):
        raise MemberError(
            f"member {member.name} cannot be rewound by length, which speculation needs: {kind} gives other scores with "
            "a key-value cache than without"
        )


def is_faithful(member: Modelled) -> bool:
    """Whether the member's scores are those of its model."""
    try:
        return _difference(member) <= _tolerance(member)
    except Exception:  # whatever a model raises that is called as it cannot be
        return False


def shares_forwards(member: Modelled) -> bool:
    """Whether rows of unequal length that share a forward get their model's scores, beyond its windows too.

    A long window is tried on a small random stand-in of the same class, so that loading stays quick.

    Raises:
        MemberError: beyond a long window the model cannot be decoded with a cache at all.
    """
    if not is_faithful(member):
        return False
    if not SHORT_WINDOW < window(member.model) < (member.context_length or math.inf):
        return True
    try:
        small = stand_in(member.model)
    except Exception:  # whatever a class raises that cannot be made small
        return False
    return type(member)(small, member.name).masked


def is_isolated(member: Modelled) -> bool:
    """Whether a row's scores are the same to the last bit, alone and in another slot beside longer rows."""
    ids = [7 * (k + 1) % member.vocabulary for k in range(TOKENS)]
    pieces = (ids[:1], ids[1:3], ids[3:])
    alone = _beside(member, pieces, others=0)
    return torch.equal(alone, _beside(member, pieces, others=3))


def _beside(member: Modelled, pieces: Sequence[list[int]], others: int) -> Tensor:
    """Logits of a row read in pieces, in the slot behind those of other rows that read more: [TOKENS, V]."""
    slots = [member.open(Context(0)) for _ in range(others + 1)]
    try:
        found = []
        for piece in pieces:
            work = [Work(slot, tokens=[*piece, *piece], keep=1) for slot in slots[:-1]]
            found.append(member.score([*work, Work(slots[-1], tokens=piece, keep=len(piece))])[-1].logits)
        return torch.cat(found)
    finally:
        for slot in slots:
            member.close(slot)


def _tolerance(member: Modelled) -> float:
    """Half precision rounds; a model that loses its context is off by about the spread of its logits."""
    return 0.01 if member.model.dtype == torch.float32 else 0.1


def _difference(member: Modelled) -> float:
    """The largest over the last positions of a few tokens, in units of the logits' spread.

    Of a position the median counts, since one flipped expert may move a few logits far.
    """
    ids = [7 * (k + 1) % member.vocabulary for k in range(_length(member))]
    found = _in_pieces(member, ids)
    wanted = torch.cat([_at_once(member, ids)[-TOKENS:], _at_once(member, ids[-3:])])
    return float(((found - wanted).abs().median(-1).values / wanted.std(-1)).max())


def _length(member: Modelled) -> int:
    """How many tokens are scored: some beyond the window, if that is short."""
    reach = window(member.model)
    beyond = reach + 2 * TOKENS if 0 < reach <= SHORT_WINDOW else TOKENS
    return max(TOKENS, min(beyond, member.context_length or beyond))


def _in_pieces(member: Modelled, ids: list[int]) -> Tensor:
    """Logits after each of the last ids, then after each of the last three as a row of its own: [TOKENS + 3, V]."""
    slot, other = member.open(Context(0)), member.open(Context(0))
    before = len(ids) - TOKENS
    try:
        if before:
            _scored(member, (slot, ids[:before], 1))
        first, beside = _scored(member, (slot, ids[before:-2], 4), (other, ids[-3:-2], 1))
        member.rewind(slot, before + 2)
        rest, behind = _scored(member, (slot, ids[-4:], 4), (other, ids[-2:], 2))  # from unequal lengths
        return torch.cat([first[:2], rest, beside, behind])
    finally:
        member.close(slot)
        member.close(other)


def _scored(member: Modelled, *work: tuple[int, list[int], int]) -> list[Tensor]:
    """Logits, where work is slot, tokens and how many positions to keep."""
    return [each.logits for each in member.score([Work(slot, tokens=ids, keep=keep) for slot, ids, keep in work])]


@torch.inference_mode()
def _at_once(member: Modelled, ids: list[int]) -> Tensor:
    logits: Tensor = member.model(input_ids=torch.tensor([ids], device=member.model.device), use_cache=False).logits
    return logits[0].float()
