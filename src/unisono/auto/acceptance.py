"""How often proposals stand: means over many rows, and how far a member can be relied on by how sure it is and how it did last.

Numbers of one row, on what earlier rows have taught. A proposal's *trust* is what it is told apart by.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import isfinite

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


AGREEMENT = 0.7  # how often a proposal stands, before anything is known
GREEDY = 0.3  # the same of one that its member is unsure of, where only the likeliest token stands
LEVELS = (0.3, 0.5, 0.7, 0.9, 0.99)  # limits of a law's largest probability, between which proposals count as alike
RIGHT = 0.5  # of the target, covered by a member's law: as good as agreement
SURE = "sure"  # the trust of a proposal that stands in any case


def expected(greedy: bool) -> Callable[[Hashable], float]:
    """What a rate is before anything is known: members are taken at their word, and agree a little in any case."""
    least = GREEDY if greedy else AGREEMENT

    def rate(name: Hashable) -> float:
        kind, *what = name if isinstance(name, tuple) else (name,)
        if kind == "draft":
            return max(least, (0.0, *LEVELS)[what[-1]])
        return (rate(what[0]) + AGREEMENT) / 2 if kind == "behind" else AGREEMENT

    return rate


def level(surest: float) -> int:
    """What proposals count as alike by."""
    return sum(surest > limit for limit in LEVELS)


@dataclass(frozen=True)
class Looked:
    """A position where a member was compared with the target; `before`: whether it was right at the one before, too."""

    position: int
    trust: object
    right: bool
    before: bool


class Confidence:
    """What a row knows of its members' reliability.

    Args:
        coupled: proposals stand where the target draws the same token, not only as far as laws overlap.
    """

    def __init__(self, rates: Rates, coupled: bool = False) -> None:
        self._rates, self._coupled = rates, coupled
        self._last: dict[int, Looked] = {}  # per member, the last position that was looked at

    def stands(self, trust: object, otherwise: float) -> float:
        """The chance that a proposal stands if all before it do; `otherwise` if nothing is known of its kind."""
        if trust == SURE:
            return 1.0
        return otherwise if trust is None else self._rates[trust].value

    def behind(self, trusts: Sequence[object], otherwise: float) -> float:
        """The chance that another proposal of the member that made the last one of these stands if they all do."""
        return self._rates[self._behind(trusts)].value if _drafted(trusts[-1]) else otherwise

    def copied(self, run: int) -> float:
        """The chance that the first token stands that was looked up by a run so long."""
        return self._rates["lookup", run].value

    def fade(self, trusts: Sequence[object]) -> None:
        """Nothing was proposed behind them, so nothing will be learnt: after a while it is tried again."""
        if _drafted(trusts[-1]):
            self._rates[self._behind(trusts)].fade()

    def fade_copied(self, run: int) -> None:
        """Nothing was looked up by a run so long."""
        self._rates["lookup", run].fade()

    def decided(self, trusts: Sequence[object], accepted: int, looked: bool = False) -> None:
        """Proposals were decided, and the first `accepted` ones stand; if one `looked`, `agreed` says more of drafted ones."""
        for place, trust in enumerate(trusts[: accepted + 1]):
            stood = float(place < accepted)
            if trust not in (None, SURE) and not (looked and _drafted(trust)):
                self._rates[trust].add(stood)
            if place and not looked and _drafted(trust) and _same(trusts[place - 1], trust):
                self._rates[self._behind(trusts[:place])].add(stood)

    def agreed(self, member: int, position: int, overlap: float, surest: float) -> None:
        """So much of the target at a committed position was covered by the member's law, and so sure it was."""
        if not isfinite(overlap):  # the member alone has no law there
            return
        rate, trust, last = self._standing(overlap), ("draft", member, level(surest)), self._last.get(member)
        self._rates["member", member].add(rate)
        self._rates[trust].add(rate)
        if last is not None:
            self._rates["after", member, last.right].add(rate)
        neighbour = last if last is not None and last.position == position - 1 else None
        if neighbour is not None and neighbour.right:
            self._rates["behind", neighbour.trust, neighbour.before].add(rate)
        before = neighbour is not None and neighbour.right
        self._last[member] = Looked(position, trust, overlap >= RIGHT, before)

    def _standing(self, overlap: float) -> float:
        """How often a proposal stands if laws overlap so much: if it is to be the same winner, from a / (2 - a) to a."""
        return (overlap / (2 - overlap) + overlap) / 2 if self._coupled else overlap

    def unseen(self, member: int) -> None:
        """The member was not compared with anything."""
        self._rates["member", member].fade()

    def agreement(self, member: int) -> float:
        """How often a proposal of the member stands."""
        return self._rates["member", member].value

    def next(self, member: int) -> float:
        """The chance that its next proposal stands, by whether the last one did."""
        return self._rates["after", member, self._was_right(member)].value

    def _was_right(self, member: int) -> bool:
        last = self._last.get(member)
        return last is None or last.right

    def _behind(self, trusts: Sequence[object]) -> tuple[object, ...]:
        """By the last trust, and by whether the member was right before it, as far as that is known."""
        trust = trusts[-1]
        assert isinstance(trust, tuple)
        right = (len(trusts) > 1 and _same(trusts[-2], trust)) or self._was_right(trust[1])
        return "behind", trust, right


def _drafted(trust: object) -> bool:
    return isinstance(trust, tuple) and trust[0] == "draft"


def _same(first: object, second: object) -> bool:
    """Whether both are of proposals of one member."""
    return isinstance(first, tuple) and isinstance(second, tuple) and first[:2] == second[:2]
