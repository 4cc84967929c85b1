"""How far a member's proposals can be relied on: by how sure it is of them, and by how it did last.

Numbers of one row, on what earlier rows have taught. A proposal's *trust* is what it is told apart by.
"""

from collections.abc import Callable, Hashable, Sequence

from torch import Tensor

from unisono.experience import Rates
from unisono.warp import Warp

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


def surely(scores: Tensor, laws: Tensor, greedy: bool) -> Tensor:
    """How sure of its token a member is [...]: the largest probability in its laws [..., V], at temperature 1 if greedy."""
    return (Warp()(scores) if greedy else laws).amax(-1)


def level(surest: float) -> int:
    """What proposals count as alike by."""
    return sum(surest > limit for limit in LEVELS)


class Confidence:
    """What a row knows of its members' reliability."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._last: dict[int, tuple[object, bool, bool]] = {}  # per member, where it was looked at last: see `agreed`

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

    def agreed(self, member: int, overlaps: Sequence[tuple[float, float]]) -> None:
        """What its law was worth at positions one after the other: how much of the target it covered, and how sure it was."""
        for overlap, surest in overlaps:
            trust: tuple[object, ...] = ("draft", member, level(surest))
            self._rates["member", member].add(overlap)
            self._rates[trust].add(overlap)
            before = False
            if member in self._last:
                last, before, earlier = self._last[member]
                self._rates["after", member, before].add(overlap)
                if before:
                    self._rates["behind", last, earlier].add(overlap)
            self._last[member] = trust, overlap >= RIGHT, before
        if not overlaps:
            self._rates["member", member].fade()

    def agreement(self, member: int) -> float:
        """How much of a target the member's law covers."""
        return self._rates["member", member].value

    def next(self, member: int) -> float:
        """The chance that its next proposal stands, by whether the last one did."""
        return self._rates["after", member, self._was_right(member)].value

    def _was_right(self, member: int) -> bool:
        return self._last.get(member, (None, True, True))[1]

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
