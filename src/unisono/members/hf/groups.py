"""Groups of rows that share a forward. Rows with few new tokens form one kind of group, longer rows another."""

from collections.abc import Callable, Iterator, Sequence

from unisono.members.tokens import Append

SHORT = 16  # rows with at most this many new tokens share a forward and use compiled forwards
PIECE = 32  # longer rows are padded to a multiple of this, because kernels are made and kept for every length
MANY = 512  # the largest number of tokens in a forward of several longer rows


def groups(
    work: Sequence[Append], place: Callable[[int], int], most: int, idle: int | None
) -> Iterator[Sequence[Append]]:
    """Yield the groups of rows that share a forward.

    Rows with at most `most` tokens are grouped first. Longer rows share a forward only with rows of the same padded
    length. If `most` is 0, every row is alone.

    Args:
        place: slot -> its place in the cache. idle: the largest number of slots between neighbours; None for no limit.
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
    """Return the number of tokens that a forward runs for rows of `width` tokens."""
    return width if width <= SHORT else -(-width // PIECE) * PIECE
