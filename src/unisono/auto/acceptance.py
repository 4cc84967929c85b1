"""How often proposals are accepted: means over many rows, and estimates for one row.

An estimate depends on how sure the proposing member was, and on whether its last proposals were right. A row starts from what
earlier rows have taught. The *trust* of a proposal is the key of its estimate: proposals of equal trust count as alike.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import isfinite

LONG, SHORT = 512, 48  # how many numbers a mean remembers: that of all rows, and that of one row
FAITH = 8  # how many numbers the starting value of a mean weighs as much as


class Rate:
    """A mean of numbers in [0, 1] in which the last numbers count most. While it has few, it stays near its starting value.

    Args:
        before: the starting value, a number or a rate that has more numbers. memory: how many numbers count.
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
        """Let the old numbers count less, since no new one came."""
        self._sum *= self._keep
        self._count *= self._keep
        if isinstance(self._before, Rate):
            self._before.fade()


class Rates:
    """Rates by name. A rate is made when it is first asked for; it starts from the rate of that name in `behind`."""

    def __init__(self, first: Callable[[Hashable], float], behind: "Rates | None" = None) -> None:
        self._first, self._behind = first, behind
        self._rates: dict[Hashable, Rate] = {}

    def __getitem__(self, name: Hashable) -> Rate:
        if name not in self._rates:
            known = self._first(name) if self._behind is None else self._behind[name]
            self._rates[name] = Rate(known, LONG if self._behind is None else SHORT)
        return self._rates[name]


AGREEMENT = 0.7  # how often a proposal is accepted, before anything is known
GREEDY = 0.3  # the same at temperature 0, for a proposal that its member is unsure of
LEVELS = (0.3, 0.5, 0.7, 0.9, 0.99)  # limits of a law's largest probability, between which proposals count as alike
RIGHT = 0.5  # a member's law that overlaps the target so much counts as right
SURE = "sure"  # the trust of a proposal that is accepted in any case


def expected(greedy: bool) -> Callable[[Hashable], float]:
    """Return a function from the name of a rate to its starting value.

    A drafted token starts with the probability that its member gives it, but not below a common least value.
    """
    least = GREEDY if greedy else AGREEMENT

    def rate(name: Hashable) -> float:
        kind, *what = name if isinstance(name, tuple) else (name,)
        if kind == "draft":
            return max(least, (0.0, *LEVELS)[what[-1]])
        return (rate(what[0]) + AGREEMENT) / 2 if kind == "behind" else AGREEMENT

    return rate


def level(surest: float) -> int:
    """Return how many of `LEVELS` a law's largest probability exceeds."""
    return sum(surest > limit for limit in LEVELS)


@dataclass(frozen=True)
class Compared:
    """A position where a member was compared with the target. before: whether it was right one position before, too."""

    position: int
    trust: object
    right: bool
    before: bool


class Confidence:
    """What a row has learnt about how often the proposals of its members are accepted.

    Args:
        coupled: a proposal is accepted if the target draws the same token, which is less often than laws overlap.
    """

    def __init__(self, rates: Rates, coupled: bool = False) -> None:
        self._rates, self._coupled = rates, coupled
        self._last: dict[int, Compared] = {}  # per member, the last position where it was compared

    def stands(self, trust: object, otherwise: float) -> float:
        """Return the chance that a proposal is accepted if all before it are; `otherwise` if its trust is None."""
        if trust == SURE:
            return 1.0
        return otherwise if trust is None else self._rates[trust].value

    def behind(self, trusts: Sequence[object], otherwise: float) -> float:
        """Return the chance that the member's next proposal is accepted if these proposals are; it made the last of them."""
        return self._rates[self._behind(trusts)].value if _drafted(trusts[-1]) else otherwise

    def copied(self, run: int) -> float:
        """Return the chance that the first token of a look-up is accepted, if a run of `run` tokens found it."""
        return self._rates["lookup", run].value

    def fade(self, trusts: Sequence[object]) -> None:
        """Fade the estimate of `behind`: nothing was proposed behind these proposals, so nothing is learnt about it.

        So proposing there is tried again after a while.
        """
        if _drafted(trusts[-1]):
            self._rates[self._behind(trusts)].fade()

    def fade_copied(self, run: int) -> None:
        """Fade the estimate of `copied`: a look-up that a run of `run` tokens found was not proposed."""
        self._rates["lookup", run].fade()

    def decided(self, trusts: Sequence[object], accepted: bool, measured: bool = False) -> None:
        """Learn whether the last of these proposals was accepted; the ones before it were.

        measured: whether `agreed` is told about this position; it says more about a drafted token.
        """
        trust = trusts[-1]
        if trust not in (None, SURE) and not (measured and _drafted(trust)):
            self._rates[trust].add(float(accepted))
        if len(trusts) > 1 and not measured and _drafted(trust) and _same(trusts[-2], trust):
            self._rates[self._behind(trusts[:-1])].add(float(accepted))

    def agreed(self, member: int, position: int, overlap: float, surest: float) -> None:
        """Learn how far the member's law overlapped the target at a position, and what its largest probability was."""
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
        self._last[member] = Compared(position, trust, overlap >= RIGHT, before)

    def _standing(self, overlap: float) -> float:
        """Return how often a proposal is accepted if laws overlap so much; if coupled, it is from a / (2 - a) to a."""
        return (overlap / (2 - overlap) + overlap) / 2 if self._coupled else overlap

    def unseen(self, member: int) -> None:
        """Fade what is known of the member: it was not compared with any target."""
        self._rates["member", member].fade()

    def agreement(self, member: int) -> float:
        """Return how often a proposal of the member is accepted."""
        return self._rates["member", member].value

    def next(self, member: int) -> float:
        """Return the chance that the member's next proposal is accepted, given whether its last one was right."""
        return self._rates["after", member, self._was_right(member)].value

    def _was_right(self, member: int) -> bool:
        last = self._last.get(member)
        return last is None or last.right

    def _behind(self, trusts: Sequence[object]) -> tuple[object, ...]:
        """Return the name of the rate: by the last trust, and by whether its member was right before, as far as known."""
        trust = trusts[-1]
        assert isinstance(trust, tuple)
        right = (len(trusts) > 1 and _same(trusts[-2], trust)) or self._was_right(trust[1])
        return "behind", trust, right


def _drafted(trust: object) -> bool:
    return isinstance(trust, tuple) and trust[0] == "draft"


def _same(first: object, second: object) -> bool:
    """Return whether one member made both proposals."""
    return isinstance(first, tuple) and isinstance(second, tuple) and first[:2] == second[:2]
