"""Which rows share a forward: rows with few new tokens all together, others with those that are padded alike."""

from collections.abc import Callable, Iterator, Sequence

from unisono.members.tokens import Append

SHORT = 16  # rows with at most this many new tokens are scored together, and compiled
PIECE = 32  # more tokens are padded to a multiple of this: kernels are made, and kept, for every number that occurs
MANY = 512  # the most tokens of a forward of several such rows


def groups(
    work: Sequence[Append], place: Callable[[int], int], most: int, idle: int | None
) -> Iterator[Sequence[Append]]:
    """Rows that share a forward: those with at most `most` tokens; others alone, so that nobody is padded to them.

    Args:
        place: where a slot lies. idle: the most slots between neighbours, or None for any number.
    """
    work = sorted(work, key=lambda item: place(item.slot))
    short = [item for item in work if len(item.tokens) <= most]
    start = 0
    for end in range(1, len(short) + 1):
        if end == len(short) or (idle is not None and place(short[end].slot) - place(short[end - 1].slot) > idle + 1):
            yield short[start:end]
            start = end
    if most:
        yield from _long_groups([item for item in work if len(item.tokens) > most])
    else:
        yield from ([item] for item in work)


def _long_groups(work: Sequence[Append]) -> Iterator[Sequence[Append]]:
    """Rows with many tokens, together if they are padded alike."""
    widths: dict[int, list[Append]] = {}
    for item in work:
        widths.setdefault(padded(len(item.tokens)), []).append(item)
    for width, items in widths.items():
        most = max(1, MANY // width)
        yield from (items[start : start + most] for start in range(0, len(items), most))


def padded(width: int) -> int:
    """How many tokens a forward has that is asked for so many."""
    return width if width <= SHORT else -(-width // PIECE) * PIECE
