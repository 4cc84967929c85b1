"""The texts with which members are tested, and the logits of the positions of these texts.

A member reads four texts in several calls: in rows of unequal width, with idle rows, rollbacks and single tokens. Its
model reads each text in one forward pass without a cache. Both must give the same logits. A *reading* is one position
in one call. A position is read several times, because rows are rolled back, and each reading is compared.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unisono.members.base import Context, Member, Work

TOKENS = 24  # the last tokens of a text, whose logits are compared
COLUMNS = 4096  # about as many logits of a reading are compared
TAIL = 0.99  # the quantile of the differences that shows a wrong part of the vocabulary
WIDE = 4  # the quantile TAIL of normal differences, in units of their median (3.8)
Span = tuple[int, int]
Call = Mapping[int, Span]
Shape = tuple[int, int]
# In each call, some rows read a range of the last tokens of their texts. A row that has read more than the start of its
# range is rolled back first. The sizes of most forwards while decoding occur: one or two rows of 1 to 5 tokens.
CALLS: tuple[Call, ...] = (
    {0: (0, 3), 1: (0, 1), 2: (0, 5)},
    {0: (3, 14), 2: (5, 9), 3: (0, 2)},
    {0: (10, 13), 1: (1, 5), 2: (7, 8), 3: (2, 12)},
    {0: (13, 14)},
    {0: (14, 15)},
    {0: (15, 16)},
    {0: (16, 17)},
    {3: (12, 13)},
    {3: (13, 14)},
    {0: (17, 18), 1: (5, 6)},
    {0: (18, 19), 1: (6, 7)},
    {0: (19, 21)},
    {0: (21, 23)},
    {1: (7, 9), 2: (8, 10)},
    {1: (9, 11), 2: (10, 12)},
    {0: (17, 20)},
    {0: (20, 23)},
    {3: (14, 18)},
    {2: (12, 16)},
    {1: (11, 16)},
    {0: (20, 24), 1: (8, 24), 2: (12, 24), 3: (18, 24)},
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
    """Return the member's logits [P, C] of all readings. The member reads the rows by CALLS."""
    slots = [member.open(Context(0)) for _ in rows]
    try:
        found = (logits for call in CALLS for logits in _read(member, call, slots, rows))
        return torch.stack([_thinned(each, index) for index, each in enumerate(found)])
    finally:
        for slot in slots:
            member.close(slot)


def _read(member: Member, call: Call, slots: Sequence[int], rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Make one call. Return the logits [V] of its readings."""
    work = []
    for row, start, first, end in _ranges(call, rows):
        member.rewind(slots[row], start)
        work.append(Work(slots[row], tokens=rows[row][start:end], keep=end - first))
    return [logits for scores in (member.score(work) if work else []) for logits in scores.logits]


def at_once(model: PreTrainedModel, rows: Sequence[Sequence[int]], vocabulary: int, forward: Forward) -> Tensor:
    """Return the model's logits [P, C] of the readings of `in_pieces`. Rows of one length share a forward pass."""
    logits: dict[int, Tensor] = {}
    for length in {len(row) for row in rows}:
        same = [index for index, row in enumerate(rows) if len(row) == length]
        found = forward(model, [rows[index] for index in same])
        logits |= dict(zip(same, found[:, :, :vocabulary], strict=True))
    ranges = [each for call in CALLS for each in _ranges(call, rows)]
    places = [(row, place) for row, _, first, end in ranges for place in range(first, end)]
    return torch.stack([_thinned(logits[row][place], index) for index, (row, place) in enumerate(places)])


def shapes(rows: Sequence[Sequence[int]]) -> list[Shape]:
    """Return for each reading of `in_pieces` the number of rows of its call, and the number of tokens of the longest."""
    found: list[Shape] = []
    for call in CALLS:
        ranges = _ranges(call, rows)
        shape = len(ranges), max((end - start for _, start, _, end in ranges), default=0)
        found += [shape] * sum(end - first for _, _, first, end in ranges)
    return found


def offsets(found: Tensor, wanted: Tensor) -> Tensor:
    """Return how far the logits `found` are from the logits `wanted` of each reading: [P].

    This is the median difference of a reading, because rounding may change which expert a model uses, and this changes
    a few logits much. If more than one logit of a hundred is wrong, the quantile TAIL counts, divided by WIDE. The
    result is in units of the standard deviation of the logits.
    """
    differences = (found - wanted).abs()
    tail = differences.kthvalue(max(1, round(TAIL * differences.shape[-1])), dim=-1).values
    return torch.maximum(differences.median(-1).values, tail / WIDE) / wanted.std(-1)


def _ranges(call: Call, rows: Sequence[Sequence[int]]) -> list[tuple[int, int, int, int]]:
    """Return (row, start, first, end) for each row that reads. The row reads from `start`; readings begin at `first`."""
    found = []
    for index, span in call.items():
        length = len(rows[index])
        start, end = _span(span, length)
        if start < end:
            found.append((index, start, max(start, length - TOKENS), end))
    return found


def _span(span: Span, length: int) -> tuple[int, int]:
    """Return a range of the last TOKENS tokens as a range of a text. The first range of a text begins at its start."""
    before = max(0, length - TOKENS)
    start, end = (min(each + before, length) for each in span)
    return (0 if span[0] == 0 else start), end


def _thinned(logits: Tensor, index: int) -> Tensor:
    """Return about COLUMNS of the logits [V] of a reading, evenly spaced. The first one depends on the reading's index."""
    size = logits.shape[-1]
    return logits[(torch.arange(0, size, -(-size // COLUMNS), device=logits.device) + index) % size]
