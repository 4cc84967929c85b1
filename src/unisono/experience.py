"""What one ensemble has learnt from the rows it ran: how long things take, and how often proposals stand."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar, cast

from unisono.costs import Costs

T = TypeVar("T")
MOST_KINDS = 256  # of requests that are remembered apart
LONG, SHORT = 512, 48  # numbers that count, of all rows and of one
FAITH = 8  # numbers that what was known before is worth


class Rate:
    """A mean of numbers in [0, 1] in which the last ones count most; before there are many, it leans on another one.

    Args:
        before: what to expect, a number or a rate of more numbers. memory: how many of them count.
    """

    def __init__(self, before: "float | Rate", memory: int = SHORT) -> None:
        self._before, self._keep = before, 1 - 1 / memory
        self._sum = self._count = 0.0

    @property
    def value(self) -> float:
        before = self._before.value if isinstance(self._before, Rate) else self._before
        return (self._sum + FAITH * before) / (self._count + FAITH)

    def add(self, number: float) -> None:
        self._sum = self._sum * self._keep + number
        self._count = self._count * self._keep + 1
        if isinstance(self._before, Rate):
            self._before.add(number)

    def fade(self) -> None:
        """Time went by without a number: the old ones count less."""
        self._sum *= self._keep
        self._count *= self._keep
        if isinstance(self._before, Rate):
            self._before.fade()


class Rates:
    """Rates by name, each begun when it is first asked for, on what the rates behind know."""

    def __init__(self, first: Callable[[Hashable], float], behind: "Rates | None" = None) -> None:
        self._first, self._behind = first, behind
        self._rates: dict[Hashable, Rate] = {}

    def __getitem__(self, name: Hashable) -> Rate:
        if name not in self._rates:
            known = self._first(name) if self._behind is None else self._behind[name]
            self._rates[name] = Rate(known, LONG if self._behind is None else SHORT)
        return self._rates[name]


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
