"""Test whether a member returns the scores of its own model. Each member is tested once, when the member is made.

Some causal models accept a cache but ignore it, keep an internal state, or attend to later tokens. Such models decode
nonsense without an error. The test scores a few tokens in several calls, together with another row and with a rollback.
The scores must be equal to the scores of one forward pass without a cache.
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
SHORT_WINDOW = 64  # in tokens; windows up to this size are tested with the model itself


class Modelled(Member, Protocol):
    """A member that runs a transformers model."""

    model: Any

    def __init__(self, model: Any, name: str) -> None: ...

    @property
    def masked(self) -> bool:
        """Return whether several rows may share a forward pass. If so, the member itself makes the attention masks."""


def require_faithful(member: Modelled) -> None:
    """Raise MemberError if the member's scores differ from the scores of its model."""
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
    """Return whether the member's scores are equal to the scores of its model, except for rounding."""
    try:
        return _difference(member) <= _tolerance(member)
    except Exception:  # a model may raise any error for unsupported arguments
        return False


def shares_forwards(member: Modelled) -> bool:
    """Return whether rows that share a forward pass get the model's scores, even beyond the model's window.

    If the window is long, a small random model of the same class is tested instead, because this test is faster. Raise
    MemberError if the scores of the small model with a cache are wrong beyond its window.
    """
    if not is_faithful(member):
        return False
    if not SHORT_WINDOW < window(member.model) < (member.context_length or math.inf):
        return True
    try:
        small = stand_in(member.model)
    except Exception:  # a class that cannot be made small may raise any error
        return False
    return type(member)(small, member.name).masked


def is_isolated(member: Modelled) -> bool:
    """Return whether the scores of a row are bitwise equal with and without longer rows in the same call."""
    ids = [7 * (k + 1) % member.vocabulary for k in range(TOKENS)]
    pieces = (ids[:1], ids[1:3], ids[3:])
    alone = _beside(member, pieces, others=0)
    return torch.equal(alone, _beside(member, pieces, others=3))


def _beside(member: Modelled, pieces: Sequence[list[int]], others: int) -> Tensor:
    """Return the logits [TOKENS, V] of a row that reads `pieces`. Each call contains `others` more, longer rows."""
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
    """Return the largest difference that rounding may cause. If the cache is ignored, the difference is about 1."""
    return 0.01 if member.model.dtype == torch.float32 else 0.1


def _difference(member: Modelled) -> float:
    """Return the largest difference between the member's and its model's logits over the last positions.

    The difference of a position is the median over its logits, because rounding may change which expert a model uses,
    and this changes a few logits much. Differences are divided by the standard deviation of the logits.
    """
    ids = [7 * (k + 1) % member.vocabulary for k in range(_length(member))]
    found = _in_pieces(member, ids)
    wanted = torch.cat([_at_once(member, ids)[-TOKENS:], _at_once(member, ids[-3:])])
    return float(((found - wanted).abs().median(-1).values / wanted.std(-1)).max())


def _length(member: Modelled) -> int:
    """Return how many tokens the test scores. For a model with a short window, return more tokens than the window."""
    reach = window(member.model)
    beyond = reach + 2 * TOKENS if 0 < reach <= SHORT_WINDOW else TOKENS
    return max(TOKENS, min(beyond, member.context_length or beyond))


def _in_pieces(member: Modelled, ids: list[int]) -> Tensor:
    """Score `ids` in several calls. Return the logits [TOKENS + 3, V] of two rows.

    The first row reads `ids`, and its last TOKENS logits are returned. The second row reads only the last three ids.
    """
    slot, other = member.open(Context(0)), member.open(Context(0))
    before = len(ids) - TOKENS
    try:
        if before:
            _scored(member, (slot, ids[:before], 1))
        first, beside = _scored(member, (slot, ids[before:-2], 4), (other, ids[-3:-2], 1))
        member.rewind(slot, before + 2)
        rest, behind = _scored(member, (slot, ids[-4:], 4), (other, ids[-2:], 2))  # rows of unequal length
        return torch.cat([first[:2], rest, beside, behind])
    finally:
        member.close(slot)
        member.close(other)


def _scored(member: Modelled, *work: tuple[int, list[int], int]) -> list[Tensor]:
    """Return the logits of each item of `work`. An item is (slot, tokens, number of positions to return)."""
    return [each.logits for each in member.score([Work(slot, tokens=ids, keep=keep) for slot, ids, keep in work])]


@torch.inference_mode()
def _at_once(member: Modelled, ids: list[int]) -> Tensor:
    logits: Tensor = member.model(input_ids=torch.tensor([ids], device=member.model.device), use_cache=False).logits
    return logits[0].float()
