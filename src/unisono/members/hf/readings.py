"""The texts with which members are tested, and the logits of the positions of these texts.

A member reads four texts in several calls: in rows of unequal width, with idle rows, rollbacks and a single token. Its
model reads each text in one forward pass without a cache. Both must give the same logits.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unisono.members.base import Context, Member, Work

TOKENS = 16  # the last tokens of a text, whose logits are compared
COLUMNS = 4096  # about as many logits of a position are compared
Span = tuple[int, int] | None
Call = tuple[Span, Span, Span, Span]
# In each call, each row reads a range of the last tokens of its text, or nothing. A row that has read more than the start
# of the range is rolled back first.
CALLS: tuple[Call, ...] = (
    ((0, 3), (0, 1), (0, 5), None),
    ((3, 14), None, (5, 9), (0, 2)),
    ((10, 13), (1, 5), (7, 8), (2, 12)),
    ((13, 14), None, None, None),
    ((14, 16), (5, 16), (8, 16), (6, 16)),
)
LONG = (0, 2)  # the rows whose texts are longer than the window of the model, if the window is short
Forward = Callable[[PreTrainedModel, Sequence[Sequence[int]]], Tensor]


def texts(vocabulary: int, beyond: int, limit: int | None) -> list[list[int]]:
    """Return four texts, with token ids spread over the vocabulary.

    The texts of the rows in `LONG` begin with `beyond` additional tokens.

    Args:
        limit: the largest number of tokens of a text; None for no limit.
    """
    found = []
    for row in range(4):
        length = TOKENS + (beyond if row in LONG else 0)
        places = range(min(length, limit or length))
        found.append([_scattered(197 * row + place + 1) % vocabulary for place in places])
    return found


def _scattered(number: int) -> int:
    """Return a number that depends on all bits of `number` (Knuth's multiplicative hash)."""
    return 2654435761 * number >> 9


def in_pieces(member: Member, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the member's logits [P, C] at the last positions of all rows. The member reads the rows by CALLS."""
    slots = [member.open(Context(0)) for _ in rows]
    found: list[dict[int, Tensor]] = [{} for _ in rows]  # per row: position -> logits
    try:
        for call in CALLS:
            _read(member, call, slots, rows, found)
    finally:
        for slot in slots:
            member.close(slot)
    ordered = [each[place] for each in found for place in sorted(each)]
    return _thinned(torch.stack(ordered))


def _read(
    member: Member, call: Call, slots: Sequence[int], rows: Sequence[Sequence[int]], found: Sequence[dict[int, Tensor]]
) -> None:
    """Make one call, and add the logits of its last tokens to `found`."""
    asked, work = [], []
    for index, (span, row) in enumerate(zip(call, rows, strict=True)):
        start, end = _span(span, len(row))
        if start < end:
            member.rewind(slots[index], start)
            first = max(start, len(row) - TOKENS)
            asked.append((index, first))
            work.append(Work(slots[index], tokens=row[start:end], keep=end - first))
    for (index, first), scores in zip(asked, member.score(work) if work else [], strict=True):
        for place, logits in enumerate(scores.logits):
            found[index][first + place] = logits


def at_once(model: PreTrainedModel, rows: Sequence[Sequence[int]], vocabulary: int, forward: Forward) -> Tensor:
    """Return the model's logits [P, C] at the positions of `in_pieces`. Rows of one length share a forward pass."""
    logits: dict[int, Tensor] = {}
    for length in {len(row) for row in rows}:
        same = [index for index, row in enumerate(rows) if len(row) == length]
        found = forward(model, [rows[index] for index in same])
        logits |= dict(zip(same, found[:, -TOKENS:, :vocabulary], strict=True))
    ordered = [logits[index] for index in range(len(rows))]
    return _thinned(torch.cat(ordered))


def offsets(found: Tensor, wanted: Tensor) -> Tensor:
    """Return how far the logits `found` are from the logits `wanted` at each position: [P].

    This is the median difference of a position, because rounding may change which expert a model uses, and this changes
    a few logits much. It is divided by the standard deviation of the logits.
    """
    return (found - wanted).abs().median(-1).values / wanted.std(-1)


def _span(span: Span, length: int) -> tuple[int, int]:
    """Return a range of the last TOKENS tokens as a range of a text. The first range of a text begins at its start."""
    if span is None:
        return 0, 0
    before = max(0, length - TOKENS)
    start, end = (min(each + before, length) for each in span)
    return (0 if span[0] == 0 else start), end


def _thinned(logits: Tensor) -> Tensor:
    """Return about COLUMNS columns of the logits, evenly spaced."""
    return logits[:, :: -(-logits.shape[-1] // COLUMNS)]
