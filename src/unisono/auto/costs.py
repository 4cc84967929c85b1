"""How long forward passes and steps take, as measured while rows run."""

from collections import deque
from collections.abc import Sequence
from math import log
from statistics import median

KEPT = 9  # measurements of one shape; their median forgets an interruption, and the past
WIDEST = 32  # tokens per row beyond which a forward reads a prompt and tells nothing about decoding
BASE, PER_PARAMETER = 8e-4, 1.5e-10  # seconds of a forward of one token before any was measured; only ratios matter
PER_TOKEN = 0.03  # of a forward's time: what one more token adds, where the forward waits for memory


class Costs:
    """Seconds of forwards of each member by rows and tokens per row, and seconds of a step outside of forwards.

    Args:
        parameters: how many weights each member has. twins: groups of members that share weights. A forward of several
            twins takes as long as one of a single twin for as many times the rows.
    """

    def __init__(self, parameters: Sequence[int], twins: Sequence[Sequence[int]] = ()) -> None:
        self._prior = [BASE + PER_PARAMETER * size for size in parameters]
        self._weights = {member: group[0] for group in twins for member in group}
        self._forwards: dict[tuple[int, int, int], deque[float]] = {}
        self._turns: deque[float] = deque([0.0], KEPT)
        self._drafts: deque[float] = deque([0.0], KEPT)

    def add(self, ran: Sequence[int], rows: int, width: int, seconds: float) -> None:
        """Note a forward of so many rows; the widest row has `width` tokens. The first forward of a shape is not counted.

        Args:
            ran: the member that ran, or several twins.
        """
        shape = self._weights.get(ran[0], ran[0]), rows * len(ran), width
        if shape in self._forwards:
            self._forwards[shape].append(seconds)
        elif width <= WIDEST:
            self._forwards[shape] = deque(maxlen=KEPT)  # without this one, which prepared kernels

    def add_step(self, outside: float, drafted: int) -> None:
        """Note the seconds of a step outside of forwards, and how many of its forwards scored open proposals of a draft."""
        if drafted:
            self._drafts.append(max(0.0, outside - self.turn) / drafted)
        else:
            self._turns.append(outside)

    @property
    def turn(self) -> float:
        """Seconds of a step outside of its forward, if it drafts at most one token."""
        return median(self._turns)

    @property
    def draft(self) -> float:
        """Seconds outside of its forward that each further drafted token takes."""
        return median(self._drafts)

    def forward(self, member: int, rows: int, widest: int) -> list[float]:
        """Return the expected seconds of a forward of 0 .. `widest` tokens per row; more tokens never take less."""
        member = self._weights.get(member, member)
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
        """Return the seconds of one token of one row for a member that has not run: by its size, compared with the others."""
        ratios = [
            median(times) / (self._prior[other] * _shape(rows * width))
            for (other, rows, width), times in self._forwards.items()
            if times
        ]
        return self._prior[member] * (median(ratios) if ratios else 1.0)


def _shape(tokens: int) -> float:
    return 1 + PER_TOKEN * (tokens - 1)
