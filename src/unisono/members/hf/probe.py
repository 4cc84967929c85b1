"""Test whether a member returns the scores of its own model. A member is tested when it is made and when it compiles.

Some causal models accept a cache but ignore it, keep an internal state, or attend to later tokens. Such models decode
nonsense without an error. Two properties are tested separately:

- *structure*: rows, positions, masks, windows and rollbacks are right. A small random model of the same class is tested
  in float32, where rounding is small and any wrong position is visible.
- *rounding*: the member's own weights give the right scores. In half precision, the plain forward pass of a model with
  many layers and large activations may itself be far from float32. A member may be 1.6 times as far. The forward
  passes of each size are judged by themselves, too, because a compiler may fail for some sizes only.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from unisono.errors import MemberError
from unisono.members.base import Context, Member, Work
from unisono.members.hf import readings, reference
from unisono.members.hf.readings import TOKENS, Shape, at_once, in_pieces, offsets, shapes, texts
from unisono.members.hf.reference import HALF, exact_logits, plain_logits
from unisono.members.hf.stand_in import stand_in, window

SHORT_WINDOW = 64  # in tokens; windows up to this size are tested with the model itself
EQUAL = 0.01  # the largest offset that rounding causes in float32; a cache that is ignored causes about 1
SMALL = 0.1  # an offset that half precision may always cause
LEAST = 0.01  # offsets in half precision are not distinguished below this number
FACTOR = 1.6  # the largest mean offset in half precision, in units of the offset of the plain forward pass
SPREAD = 2.0  # a mean over N readings may be larger than FACTOR by the factor exp(SPREAD / sqrt(N))
BESIDE = 6  # tokens of the text that `is_isolated` reads
SOURCES = tuple(Path(str(each)) for each in (__file__, readings.__file__, reference.__file__))  # the files of the test


class Distance(NamedTuple):
    """How far scores are from the right scores, and how far they may be. unit: of both numbers, for messages."""

    found: float
    limit: float
    unit: str

    @property
    def excess(self) -> float:
        """Return the distance in units of the largest allowed distance; nan if some scores are not numbers."""
        return self.found / self.limit


class Modelled(Member, Protocol):
    """A member that runs a transformers model."""

    model: Any

    def __init__(self, model: Any, name: str) -> None: ...

    @property
    def masked(self) -> bool:
        """Return whether several rows may share a forward pass. If so, the member itself makes the attention masks."""


M = TypeVar("M", bound=Modelled)


def require_faithful(member: Modelled) -> None:
    """Raise MemberError if the member's scores differ from the scores of its model by more than rounding."""
    kind = member.model.config.model_type
    try:
        excess = _distance(member).excess
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MemberError(f"member {member.name} cannot be decoded with a cache: {kind} ({reason})") from error
    if math.isnan(excess):
        raise MemberError(
            f"member {member.name} gives scores that are not numbers: broken weights, or too small a dtype"
        )
    if not excess <= 1:
        raise MemberError(
            f"member {member.name} cannot be rewound by length, which speculation needs: {kind} gives other scores with "
            "a key-value cache than without"
        )


def fault(member: Modelled) -> str:
    """Return why the member's scores are not the scores of its model; an empty text if only rounding differs."""
    try:
        distance = _distance(member)
        if distance.excess <= 1:
            return ""
        found, limit, unit = distance
        return f"they give other scores than the model (by {found:.3g} {unit}, and {limit:.3g} is the limit)"
    except Exception as error:  # a model may raise any error for unsupported arguments
        return " ".join(str(error).split())[:200] or type(error).__name__


def is_faithful(member: Modelled) -> bool:
    """Return whether the member's scores are the scores of its model, except for rounding."""
    return not fault(member)


def shares_forwards(member: Modelled) -> bool:
    """Return whether rows that share a forward pass get the model's scores, even beyond the model's window.

    A small random model of the same class is tested too, if the model's window is long or its numbers are not float32.
    Raise MemberError if the scores of the small model with a cache are wrong.
    """
    if not is_faithful(member):
        return False
    long = SHORT_WINDOW < window(member.model) < (member.context_length or math.inf)
    if not long and member.model.dtype not in HALF:
        return True
    small = small_member(member)
    return not long if small is None else small.masked


def small_member(member: M) -> M | None:
    """Return a member with a small random model of the same class and device; None if the class cannot be made small.

    Raise MemberError if the scores of the small model with a cache are wrong.
    """
    try:
        small = stand_in(member.model).to(member.model.device)
    except Exception:  # a class that cannot be made small may raise any error
        return None
    return type(member)(small, member.name)


def fingerprint(member: Modelled) -> str:
    """Return a digest of the bits of the member's scores in a test, or of the error, and of the test.

    A member with an equal fingerprint has the same result in the test, so it need not be tested again.
    """
    try:
        found = in_pieces(member, _texts(member)).contiguous().cpu().numpy().tobytes()
    except Exception as error:
        found = repr(error).encode()
    return hashlib.sha256(b"".join((*(path.read_bytes() for path in SOURCES), found))).hexdigest()


def is_isolated(member: Modelled) -> bool:
    """Return whether the scores of a row are bitwise equal with and without longer rows in the same call."""
    ids = [7 * (k + 1) % member.vocabulary for k in range(BESIDE)]
    pieces = (ids[:1], ids[1:3], ids[3:])
    alone = _beside(member, pieces, others=0)
    return torch.equal(alone, _beside(member, pieces, others=3))


def _beside(member: Modelled, pieces: Sequence[list[int]], others: int) -> Tensor:
    """Return the logits [BESIDE, V] of a row that reads `pieces`. Each call contains `others` more, longer rows."""
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


def _distance(member: Modelled) -> Distance:
    """Return how far the member's scores are from the right scores.

    The plain forward pass of the model gives the right scores in float32. In half precision, it is compared first,
    because that is fast. Only if the distance is too large, both are compared with float32.
    """
    rows = _texts(member)
    found = in_pieces(member, rows)
    plain = at_once(member.model, rows, member.vocabulary, plain_logits)
    half = member.model.dtype in HALF
    near = Distance(float(offsets(found, plain).max()), SMALL if half else EQUAL, "standard deviations of the logits")
    if not (half and 1 < near.excess < math.inf):  # also if it is not a number
        return near
    exact = at_once(member.model, rows, member.vocabulary, exact_logits)
    return rounding(found, plain, exact, shapes(rows))


def _texts(member: Modelled) -> list[list[int]]:
    """Return the texts of a test. If the model's window is short, two of the texts are longer than the window."""
    reach = window(member.model)
    beyond = reach + TOKENS // 2 if 0 < reach <= SHORT_WINDOW else 0
    ids = member.model.get_input_embeddings().weight.shape[0]  # an output layer may have more rows
    return texts(min(member.vocabulary, ids), beyond, member.context_length)


def rounding(found: Tensor, plain: Tensor, exact: Tensor, sizes: Sequence[Shape]) -> Distance:
    """Return how many times as far from `exact` the logits `found` are as the logits `plain`, all of them [P, C].

    This is the geometric mean over readings, because the offsets of single readings vary by a factor of ten. An offset
    below LEAST counts as LEAST. The mean over all readings may be FACTOR. The mean over the readings of one size of a
    forward pass may be larger, because these readings are few; the worst one is left out, because rounding may change
    which expert a model uses. In addition, half of the readings of a size must be as near as the worst reading of
    `plain`. The largest distance, in units of its limit, is returned.

    Args:
        sizes: the number of rows and tokens of the forward pass of each reading.
    """
    own, theirs = (offsets(each, exact).clamp(min=LEAST) for each in (found, plain))
    ratios, farthest = (own / theirs).log(), max(SMALL, float(theirs.max()))
    times, spread = "times the model's own distance from float32", "standard deviations of the logits from float32"
    distances = [Distance(float(ratios.mean().exp()), FACTOR, times)]
    for size in sorted(set(sizes)):
        here = torch.tensor([each == size for each in sizes], device=own.device)
        count = int(here.sum())
        mean = ratios[here].sort().values[: max(1, count - 1)].mean().exp()
        distances.append(Distance(float(mean), FACTOR * math.exp(SPREAD / math.sqrt(count)), times))
        distances.append(Distance(float(own[here].median()), farthest, spread))
    return max(distances, key=lambda each: each.excess)
