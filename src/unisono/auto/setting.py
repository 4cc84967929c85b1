"""The times and acceptance rates from which plans are computed. All times are in seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Setting:
    """The times and rates from which plans are computed.

    needed: the members that must score every position. All other members only propose.
    start: the member that proposes first unless another member is better.
    forwards: for each member, a sequence. Entry k is the seconds of a forward of k tokens.
    turn: the seconds that a turn with proposals takes outside of forwards.
    silent: the seconds that a turn without proposals takes outside of forwards.
    draft: the seconds outside of forwards that each proposal after the first proposal of a turn takes.
    rates: for each member, the probability that its proposal is accepted. If `odds` is not empty, the probability is
    for positions at which another member is drawn.
    odds: the probability of drawing each member for a position. Empty if no members are drawn.
    rows: the number of rows that share a forward of a member if all rows need this member.
    twins: groups of needed members that score together, with the seconds of their common forwards.
    current: the name of the schedule that the rows follow now; empty if there is none.
    """

    needed: tuple[int, ...]
    start: int
    forwards: Sequence[Sequence[float]]
    turn: float
    draft: float
    rates: Sequence[float]
    odds: tuple[float, ...] = ()
    rows: int = 1
    twins: Mapping[tuple[int, ...], Sequence[float]] = field(default_factory=dict)
    silent: float | None = None
    current: str = ""

    @property
    def scorers(self) -> tuple[int, ...]:
        """The needed members, with only one member of each group of twins, because twins score together."""
        along = [each for group in self.twins for each in group if each != self._first(group)]
        return tuple(member for member in self.needed if member not in along)

    def _first(self, group: tuple[int, ...]) -> int:
        return self.start if self.start in group else group[0]

    def times(self, member: int) -> Sequence[float]:
        """Return a sequence. Entry k is the seconds of a forward of k tokens for the member and its twins."""
        return next((times for group, times in self.twins.items() if member in group), self.forwards[member])

    def scoring(self, member: int, tokens: int) -> float:
        """Return the seconds of a turn in which the member scores `tokens` open positions."""
        times = self.times(member)
        return self.turn + times[min(tokens, len(times) - 1)]

    def drafting(self, member: int, tokens: int) -> float:
        """Return the seconds for `tokens` further proposals of a member that has scored all open positions."""
        return tokens * (self.forwards[member][1] + self.draft)

    def standard(self) -> float:
        """Return the seconds per token of `standard`, in which every needed member scores every position."""
        outside = self.turn if self.silent is None else self.silent
        return sum(outside + self.times(member)[1] for member in self.scorers)

    def mixture(self) -> float:
        """Return the seconds per token if each member scores only the positions for which the member is drawn."""
        return sum(odd * self.scoring(member, 2) for member, odd in enumerate(self.odds)) / self.share()

    def share(self) -> float:
        """Return the expected share of the rows that one forward serves, if a member is drawn for each row.

        Each row waits for its drawn member. A forward serves the largest group of waiting rows. Then new members are
        drawn for these rows. For n members with equal probabilities, the share is 2 / (n + 1).
        """
        return max(1 / self.rows, 2 / (1 + sum(odd > 0 for odd in self.odds)))
