"""Estimates of the probability that proposals are accepted: means over many rows, and means for one row.

An estimate depends on the probability that the member's law gives to its most probable token, and on whether this law
was close to the target law at the last positions. A row starts with the estimates from earlier rows. Each estimate has
a name. The *trust* of a proposal is the name of its estimate. Proposals with the same trust share one estimate.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import isfinite

LONG, SHORT = 512, 48  # how many numbers a mean remembers: the mean of all rows, and the mean of one row
FAITH = 8  # the starting value of a mean weighs as much as FAITH numbers


class Rate:
    """A mean of numbers in [0, 1] in which recent numbers count most.

    With few numbers, the mean stays near its starting value.

    Args:
        before: the starting value. It is a number, or the value of another rate that has more numbers.
        memory: about how many recent numbers influence the mean.
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
        """Reduce the weight of the old numbers, so that the mean moves towards its starting value."""
        self._sum *= self._keep
        self._count *= self._keep
        if isinstance(self._before, Rate):
            self._before.fade()


class Rates:
    """Rates by name. A rate is created at the first access.

    A new rate starts from the rate with the same name in `behind`. If `behind` is None, the new rate starts from the
    number that `first` returns for this name.
    """

    def __init__(self, first: Callable[[Hashable], float], behind: "Rates | None" = None) -> None:
        self._first, self._behind = first, behind
        self._rates: dict[Hashable, Rate] = {}

    def __getitem__(self, name: Hashable) -> Rate:
        if name not in self._rates:
            known = self._first(name) if self._behind is None else self._behind[name]
            self._rates[name] = Rate(known, LONG if self._behind is None else SHORT)
        return self._rates[name]


AGREEMENT = 0.7  # probability that a proposal is accepted, before any measurement
GREEDY = 0.3  # probability that a proposal is accepted at temperature 0 if its member is unsure
LEVELS = (0.3, 0.5, 0.7, 0.9, 0.99)  # limits of a law's largest probability; proposals between two limits share a trust
RIGHT = 0.5  # a member is right if its law overlaps the target by at least this much
SURE = "sure"  # the trust of a proposal that is accepted in any case


def expected(greedy: bool) -> Callable[[Hashable], float]:
    """Return a function that returns the starting value of a rate from its name.

    The rate of drafted tokens of a level (see `level`) starts at the lower limit of this level. The starting value is
    at least `GREEDY` if `greedy` is true, and at least `AGREEMENT` otherwise.
    """
    least = GREEDY if greedy else AGREEMENT

    def rate(name: Hashable) -> float:
        kind, *what = name if isinstance(name, tuple) else (name,)
        if kind == "draft":
            return max(least, (0.0, *LEVELS)[what[-1]])
        return (rate(what[0]) + AGREEMENT) / 2 if kind == "behind" else AGREEMENT

    return rate


def level(surest: float) -> int:
    """Return how many values in `LEVELS` are below `surest`, which is the largest probability of a law."""
    return sum(surest > limit for limit in LEVELS)


@dataclass(frozen=True)
class Compared:
    """A position at which the law of a member was compared with the target law.

    right: whether the law of the member overlaps the target law by at least `RIGHT`. before: whether this is also true
    for the position before.
    """

    position: int
    trust: object
    right: bool
    before: bool


class Confidence:
    """The estimates of one row for the probability that a proposal of a member is accepted.

    Args:
        coupled: whether a proposal is accepted only if the draw from the target law gives the same token. Then the
            probability of acceptance is smaller than the overlap of the laws.
    """

    def __init__(self, rates: Rates, coupled: bool = False) -> None:
        self._rates, self._coupled = rates, coupled
        self._last: dict[int, Compared] = {}  # for each member, the last position where it was compared

    def stands(self, trust: object, otherwise: float) -> float:
        """Return the probability that a proposal with this trust is accepted after all earlier proposals were accepted.

        Return `otherwise` if `trust` is None.
        """
        if trust == SURE:
            return 1.0
        return otherwise if trust is None else self._rates[trust].value

    def behind(self, trusts: Sequence[object], otherwise: float) -> float:
        """Return the probability that the next proposal is accepted, given that the proposals before it are accepted.

        `trusts` has the trusts of the proposals before it. The member that made the last of these proposals also makes
        the next proposal. If no member made the last proposal, return `otherwise`.
        """
        return self._rates[self._behind(trusts)].value if _drafted(trusts[-1]) else otherwise

    def copied(self, run: int) -> float:
        """Return the probability that the first copied token is accepted, if a run of `run` tokens was looked up."""
        return self._rates["lookup", run].value

    def fade(self, trusts: Sequence[object]) -> None:
        """Move the estimate that `behind` returns towards its starting value.

        The policy calls this method when it ends a draft after the proposals with these trusts. So the estimate does
        not stay low forever, and the policy tries a longer draft again after some rounds.
        """
        if _drafted(trusts[-1]):
            self._rates[self._behind(trusts)].fade()

    def fade_copied(self, run: int) -> None:
        """Move the estimate that `copied` returns towards its starting value, because no token was copied."""
        self._rates["lookup", run].fade()

    def decided(self, trusts: Sequence[object], accepted: bool, measured: bool = False) -> None:
        """Record whether the last of these proposals was accepted. All earlier proposals were accepted.

        Args:
            measured: whether `agreed` is also called for this position. Then only `agreed` records a drafted token.
        """
        trust = trusts[-1]
        if trust not in (None, SURE) and not (measured and _drafted(trust)):
            self._rates[trust].add(float(accepted))
        if len(trusts) > 1 and not measured and _drafted(trust) and _same(trusts[-2], trust):
            self._rates[self._behind(trusts[:-1])].add(float(accepted))

    def agreed(self, member: int, position: int, overlap: float, surest: float) -> None:
        """Record the comparison of a member's law with the target law at a position.

        Args:
            overlap: the probability that a proposal from the member's law is accepted. Nothing is recorded for nan.
            surest: the largest probability of the member's law.
        """
        if not isfinite(overlap):  # the member alone has no law at this position
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
        self._last[member] = Compared(position, trust, overlap >= RIGHT, before)

    def _standing(self, overlap: float) -> float:
        """Return the probability that a proposal is accepted, for laws with the overlap a.

        Without coupled draws, the probability is a. With coupled draws, the probability is between a / (2 - a) and a,
        and the mean of these two values is returned.
        """
        return (overlap / (2 - overlap) + overlap) / 2 if self._coupled else overlap

    def unseen(self, member: int) -> None:
        """Move the estimate that `agreement` returns towards its starting value: the member was not compared."""
        self._rates["member", member].fade()

    def agreement(self, member: int) -> float:
        """Return the probability that a proposal of the member is accepted."""
        return self._rates["member", member].value

    def next(self, member: int) -> float:
        """Return the probability that the member's next proposal is accepted.

        The estimate depends on whether the member was right at the last position where it was compared.
        """
        return self._rates["after", member, self._was_right(member)].value

    def _was_right(self, member: int) -> bool:
        last = self._last.get(member)
        return last is None or last.right

    def _behind(self, trusts: Sequence[object]) -> tuple[object, ...]:
        """Return the name of the rate for a proposal after the proposals with these trusts.

        The name contains the last trust, and whether the member was right one position before (True if unknown).
        """
        trust = trusts[-1]
        assert isinstance(trust, tuple)
        right = (len(trusts) > 1 and _same(trusts[-2], trust)) or self._was_right(trust[1])
        return "behind", trust, right


def _drafted(trust: object) -> bool:
    return isinstance(trust, tuple) and trust[0] == "draft"


def _same(first: object, second: object) -> bool:
    return isinstance(first, tuple) and isinstance(second, tuple) and first[:2] == second[:2]
