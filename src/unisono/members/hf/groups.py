"""Groups of rows that share a forward pass, and the scores of each row.

Rows with few new tokens and longer rows are in separate groups.
"""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from unisono.members.base import Scores
from unisono.members.tokens import Append

SHORT = 16  # rows with at most this many new tokens share a forward pass, which may be compiled
PIECE = 32  # longer rows are padded to a multiple of this number, because a kernel is made and kept for every length
MANY = 512  # the largest number of tokens in a forward pass of several longer rows


def groups(
    work: Sequence[Append], place: Callable[[int], int], most: int, idle: int | None
) -> Iterator[Sequence[Append]]:
    """Yield the groups of rows that share a forward pass.

    Rows with at most `most` tokens are grouped first. Longer rows share a forward pass only with rows of the same
    padded length. If `most` is 0, every group has one row.

    Args:
        place: a function that returns a slot's place in the cache. idle: the largest number of unused places between
            two neighbouring rows of a group of short rows; None for no limit.
    """
    work = sorted(work, key=lambda item: place(item.slot))
    short = [item for item in work if len(item.tokens) <= most]
    start = 0
    for end in range(1, len(short) + 1):
        if end == len(short) or (idle is not None and place(short[end].slot) - place(short[end - 1].slot) > idle + 1):
            yield short[start:end]
            start = end
    long: dict[int, list[Append]] = {}
    for item in work:
        if len(item.tokens) > most:
            long.setdefault(padded(len(item.tokens)), []).append(item)
    for width, items in long.items():
        count = max(1, MANY // width) if most else 1
        yield from (items[start : start + count] for start in range(0, len(items), count))


def padded(width: int) -> int:
    """Return the number of tokens, including padding, that a forward pass runs for rows of `width` tokens."""
    return width if width <= SHORT else -(-width // PIECE) * PIECE


def split(
    work: Sequence[Append], rows: Sequence[int], logits: Tensor, features: Tensor | None, width: int
) -> list[Scores]:
    """Return the scores of each item of a forward pass.

    Args:
        rows: for each item, its index in the tensors. logits: the last logits [R, columns, V]. features: the hidden
            states [R, columns, D] or None. width: the number of tokens per row, including the padding at the end.
    """
    columns = logits.shape[1]
    joint = logits.stride(0) == columns * logits.stride(1)
    shared = logits.view(-1, logits.shape[2]) if joint else None  # all rows as one tensor [R * columns, V]
    found = []
    for row, item in zip(rows, work, strict=True):
        end = len(item.tokens) - width + columns if item.keep else 0
        own = slice(end - item.keep, end)
        states = features[row, own] if features is not None else None
        if shared is None:
            found.append(Scores(logits[row, own], features=states))
        else:
            first = row * columns + own.start
            found.append(Scores(shared[first : first + item.keep], features=states, place=(shared, first)))
    return found
