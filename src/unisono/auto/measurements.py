"""What one ensemble has measured while its rows ran: how long forwards take, and how often proposals stand."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from math import log
from statistics import median
from typing import TypeVar, cast

from unisono.auto.acceptance import Rates

T = TypeVar("T")
MOST_KINDS = 256  # of requests that are remembered apart
KEPT = 9  # measurements of a kind; their median forgets an interruption, and the past
WIDEST = 32  # tokens per row beyond which a forward reads a prompt and tells nothing about decoding
BASE, PER_PARAMETER = 8e-4, 1.5e-10  # seconds of a forward of one token before any was measured; only ratios matter
PER_TOKEN = 0.03  # of it: what one more token adds, where memory is what a forward waits for


class Costs:
    """Seconds per forward of each member by rows and tokens per row, and of what a step does besides.

    Args:
        parameters: of the members.
    """

    def __init__(self, parameters: Sequence[int]) -> None:
        self._prior = [BASE + PER_PARAMETER * size for size in parameters]
        self._forwards: dict[tuple[int, int, int], deque[float]] = {}
        self._turns: deque[float] = deque([0.0], KEPT)
        self._drafts: deque[float] = deque([0.0], KEPT)

    def add(self, member: int, rows: int, width: int, seconds: float) -> None:
        """A forward of so many rows, the longest of them of `width` tokens. The first of a shape makes kernels: not counted."""
        shape = member, rows, width
        if shape in self._forwards:
            self._forwards[shape].append(seconds)
        elif width <= WIDEST:
            self._forwards[shape] = deque(maxlen=KEPT)

    def add_step(self, outside: float, drafted: int) -> None:
        """Seconds of a step outside of forwards; `drafted` of these were for more proposals than the first."""
        if drafted:
            self._drafts.append(max(0.0, outside - self.turn) / drafted)
        else:
            self._turns.append(outside)

    @property
    def turn(self) -> float:
        """Seconds of a step without drafting, outside of its forward."""
        return median(self._turns)

    @property
    def draft(self) -> float:
        """Seconds that one more proposal takes besides its forward."""
        return median(self._drafts)

    def forward(self, member: int, rows: int, widest: int) -> list[float]:
        """Expected seconds of a forward of 0 .. `widest` tokens per row; never falling."""
        known = {key[1:]: median(times) for key, times in self._forwards.items() if key[0] == member and times}
        seconds = [0.0]
        for width in range(1, widest + 1):
            seconds.append(max(seconds[-1], self._expected(member, known, rows, width)))
        return seconds

    def _expected(self, member: int, known: dict[tuple[int, int], float], rows: int, width: int) -> float:
        if (rows, width) in known:
            return known[rows, width]
        if not known:
            return self._guess(member) * _shape(rows * width)
        near = min(known, key=lambda key: (abs(log(key[0] / rows)) + abs(log(key[1] / width)), key))
        return known[near] * _shape(rows * width) / _shape(near[0] * near[1])

    def _guess(self, member: int) -> float:
        """One token of one row of a member that has not run: as the others by size."""
        ratios = [
            median(times) / (self._prior[other] * _shape(rows * width))
            for (other, rows, width), times in self._forwards.items()
            if times
        ]
        return self._prior[member] * (median(ratios) if ratios else 1.0)


def _shape(tokens: int) -> float:
    return 1 + PER_TOKEN * (tokens - 1)


class Experience:
    """Shared by all rows of an engine; changed inside of its steps only.

    rows: how many run now.
    """

    def __init__(self, parameters: Sequence[int]) -> None:
        self.costs = Costs(parameters)
        self.rows = 1
        self._kinds: dict[Hashable, Rates] = {}
        self._decided: dict[Hashable, object] = {}  # for rows of each kind, in the present step

    def rates(self, kind: Hashable, first: Callable[[Hashable], float]) -> Rates:
        """What requests of a kind have in common; `first` says what to expect by a name before there were any."""
        while kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        return self._kinds.setdefault(kind, Rates(first))

    def begin(self, rows: int) -> None:
        """A step begins, while so many rows run."""
        self.rows = rows
        self._decided.clear()

    def shared(self, kind: Hashable, decide: Callable[[], T]) -> T:
        """What is decided for a row; rows of a kind that decide in the same step share it, or they would fall out of step."""
        if self.rows == 1:
            return decide()
        if kind not in self._decided:
            self._decided[kind] = decide()
        return cast(T, self._decided[kind])
