"""How far a member's proposals can be relied on: by how sure it is of them, and by how it did last.

Numbers of one row, on what earlier rows have taught. A proposal's *trust* is what it is told apart by.
"""

from collections.abc import Callable, Hashable, Sequence

from torch import Tensor

from unisono.experience import Rates

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
        if kind in ("draft", "behind"):
            own = max(least, (0.0, *LEVELS)[what[-1]])
            return own if kind == "draft" else (own + AGREEMENT) / 2
        return AGREEMENT

    return rate


class Confidence:
    """What a row knows of its members' reliability."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._right: dict[int, bool] = {}  # per member, whether it agreed with the target when that was looked at last

    def level(self, law: Tensor) -> int:
        """How sure a law [V] is; waits for its device."""
        surest = float(law.max())
        return sum(surest > limit for limit in LEVELS)

    def stands(self, trust: object, otherwise: float) -> float:
        """The chance that a proposal stands if all before it do; `otherwise` if nothing is known of its kind."""
        if trust == SURE:
            return 1.0
        return otherwise if trust is None else self._rates[trust].value

    def behind(self, trust: object, otherwise: float) -> float:
        """The chance that the same member's next proposal stands if this one does."""
        return self._rates[_behind(trust)].value if _drafted(trust) else otherwise

    def copied(self, run: int) -> float:
        """The chance that the first token stands that was looked up by a run so long."""
        return self._rates["lookup", run].value

    def fade(self, trust: object) -> None:
        """Nothing was proposed behind it, or looked up by it, so nothing will be learnt: after a while it is tried again."""
        if trust is not None and trust != SURE:
            self._rates[_behind(trust) if _drafted(trust) else trust].fade()

    def decided(self, trusts: Sequence[object], accepted: int) -> None:
        """Proposals were decided, and the first `accepted` ones stand."""
        for place, trust in enumerate(trusts[: accepted + 1]):
            stood = float(place < accepted)
            if trust is not None and trust != SURE:
                self._rates[trust].add(stood)
            last = trusts[place - 1] if place else None
            if _drafted(last) and _drafted(trust) and last[1] == trust[1]:  # type: ignore[index]
                self._rates[_behind(last)].add(stood)

    def agreed(self, member: int, overlaps: Sequence[float]) -> None:
        """So much of the target was covered by the member's law at positions one after the other; none: nobody looked."""
        for overlap in overlaps:
            self._rates["member", member].add(overlap)
            if member in self._right:
                self._rates["after", member, self._right[member]].add(overlap)
            self._right[member] = overlap >= RIGHT
        if not overlaps:
            self._rates["member", member].fade()

    def agreement(self, member: int) -> float:
        """How much of a target the member's law covers."""
        return self._rates["member", member].value

    def next(self, member: int) -> float:
        """The chance that its next proposal stands, by whether the last one did."""
        return self._rates["after", member, self._right.get(member, True)].value


def _drafted(trust: object) -> bool:
    return isinstance(trust, tuple) and trust[0] == "draft"


def _behind(trust: object) -> tuple[object, ...]:
    assert isinstance(trust, tuple)
    return "behind", *trust[1:]
