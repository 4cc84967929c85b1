"""The measured seconds of forward passes and steps."""

from collections import deque
from collections.abc import Sequence
from math import log
from statistics import mean, median

KEPT = 9  # number of measurements of one shape that count; their median ignores single interruptions
STEPS = 12  # number of steps that count for the mean seconds outside of forwards
DRAFT = 0.2  # the least share of a turn's seconds outside of forwards that a further drafted token takes
LONGEST = 3  # a step counts as at most LONGEST times the median of the steps, so that interruptions count little
WIDEST = 32  # tokens per row; a wider forward reads a prompt, so it is not measured
BASE, PER_PARAMETER = 8e-4, 1.5e-10  # seconds of a forward of one token if nothing is measured; only ratios matter
PER_TOKEN = 0.03  # share of a forward's time that one more token adds, if memory limits the forward


class Costs:
    """The measured seconds of each member's forwards, and of steps outside of forwards.

    The seconds of forwards are grouped by the number of rows and the number of tokens per row.

    Args:
        parameters: the number of weights of each member.
        twins: groups of members that share weights. A common forward of n twins counts as a forward of one twin for n
            times as many rows.
    """

    def __init__(self, parameters: Sequence[int], twins: Sequence[Sequence[int]] = ()) -> None:
        self._prior = [BASE + PER_PARAMETER * size for size in parameters]
        self._weights = {member: group[0] for group in twins for member in group}
        self._forwards: dict[tuple[int, int, int], deque[float]] = {}
        self._turns: dict[tuple[int, bool], deque[float]] = {}
        self._drafts: deque[float] = deque([0.0], KEPT)
        self._rows = 1  # the number of rows in the last step

    def add(self, ran: Sequence[int], rows: int, width: int, seconds: float) -> None:
        """Record the seconds of a forward.

        The first forward with the same members, rows and width is not counted, because it prepares kernels.

        Args:
            ran: the member that ran, or several twins that ran together.
            rows: the number of rows.
            width: the number of tokens of the row with the most tokens.
        """
        shape = self._weights.get(ran[0], ran[0]), rows * len(ran), width
        if shape in self._forwards:
            self._forwards[shape].append(seconds)
        elif width <= WIDEST:
            self._forwards[shape] = deque(maxlen=KEPT)  # the seconds of this first forward are left out

    def knows(self, member: int, rows: int) -> bool:
        """Return whether forwards of one token per row were measured for about so many rows, up to a factor of 2."""
        weights = self._weights.get(member, member)
        return any(
            each == weights and width == 1 and rows <= 2 * measured <= 4 * rows and bool(times)
            for (each, measured, width), times in self._forwards.items()
        )

    def add_step(self, outside: float, drafted: int, rows: int = 1, proposes: bool = True) -> None:
        """Record the seconds of a step outside of forwards.

        Args:
            outside: the seconds.
            drafted: the number of forwards of the step in which a member scored open proposals to draft further tokens.
            rows: the number of rows that run.
            proposes: whether the plans of these rows propose tokens.
        """
        self._rows = rows
        if drafted:
            self._drafts.append(max(0.0, outside - self.turn(rows, proposes)) / drafted)
        else:
            self._turns.setdefault((rows, proposes), deque(maxlen=STEPS)).append(outside)

    def turn(self, rows: int = 1, proposes: bool = True) -> float:
        """Return the expected seconds of a step outside of its forward, for a step that drafts at most one token.

        Steps with proposals and steps without proposals are measured separately.
        """
        alike = [key for key in self._turns if key[1] == proposes] or list(self._turns)
        if not alike:
            return 0.0
        times = self._turns[min(alike, key=lambda key: (abs(log(key[0] / rows)), key))]
        if proposes:
            return median(times)
        most = LONGEST * median(times)  # a mean, because only the last member's turn of a position draws a token
        return mean(min(seconds, most) for seconds in times)

    @property
    def draft(self) -> float:
        """The seconds outside of forwards that each further drafted token adds to a step.

        At least the share `DRAFT` of a turn, because drafting repeats this part of a turn.
        """
        return max(median(self._drafts), DRAFT * self.turn(self._rows))

    def forward(self, member: int, rows: int, widest: int) -> list[float]:
        """Return the expected seconds of forwards, one value for each number of tokens per row from 0 to `widest`.

        The values never decrease with the number of tokens.
        """
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
        """Return the expected seconds of a forward of one token and one row, for a member that has not run.

        The estimate uses the size of the member and the measured times of the other members.
        """
        ratios = [
            median(times) / (self._prior[other] * _shape(rows * width))
            for (other, rows, width), times in self._forwards.items()
            if times
        ]
        return self._prior[member] * (median(ratios) if ratios else 1.0)


def _shape(tokens: int) -> float:
    return 1 + PER_TOKEN * (tokens - 1)
