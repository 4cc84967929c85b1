"""What it is worth to propose: the chance that a token stands times what a token takes, less what proposing it costs.

Standing proposals save the time that the row takes per token at present. Nothing here is exact: it decides about speed.
"""

from unisono.confidence import Confidence
from unisono.frontier import Frontier
from unisono.planning import Setting
from unisono.schedules import SMALL, View

LOOKED_UP = 12  # the most tokens that are looked up at once
NEAR = 5  # tokens over which the cost of one more is a mean: no number of tokens is as cheap as its neighbours
CLEAR = 0.1  # of the time per token: what another member must gain as the first proposer


class Worth:
    """Of proposals of one row while it follows one plan.

    Args:
        seconds: that a token takes. leads: whether `setting.start` often fixes a position's law alone.
    """

    def __init__(self, setting: Setting, seconds: float, confidence: Confidence, leads: bool = False) -> None:
        self._setting, self._seconds, self._confidence, self._leads = setting, seconds, confidence, leads

    def first(self, member: int) -> int:
        """Who proposes first: the member that is planned, unless another one that is needed is clearly better now."""
        needed, gains = self._setting.needed, [self._opening(each) for each in range(len(self._setting.rates))]
        other = max(needed, key=lambda each: gains[each])
        return other if member in needed and gains[other] - gains[member] > CLEAR * self._seconds else member

    def _opening(self, member: int) -> float:
        """Seconds gained where the member scores and proposes first; it may spare the others if it leads."""
        others = [each for each in self._setting.needed if each != member]
        alone = self._leads and member == self._setting.start
        spared = sum(self._setting.scoring(other, 1) for other in others) if alone else 0.0
        return self._confidence.next(member) * (self._seconds + spared) - self._setting.scoring(member, 1)

    def before(self, member: int, view: View) -> int:
        """The member, or one that must run as well, costs much less, and may propose something for it to score."""
        unread = [other for other in self._setting.needed if view.scored[other] < max(view.open, 1)]
        costs = {other: self._setting.scoring(other, 1) for other in unread}
        cheapest = min(unread, key=lambda other: costs[other], default=member)
        return cheapest if costs.get(cheapest, 0) < SMALL * costs.get(member, 0) else member

    def starts(self, frontier: Frontier, member: int, trust: object) -> bool:
        """Whether the member's next proposal, of this trust, is worth the wider forwards that decide it."""
        stands = self._confidence.stands(trust, self._setting.rates[member])
        return self._reach(frontier) * stands * self._seconds > self._widening()

    def stops(self, frontier: Frontier, member: int, run: int) -> bool:
        """Whether another proposal of the member, behind those that are open, is not worth its forward.

        Or the text has better ones, found by a `run` so long; 0 if it has none.
        """
        stands, cost = self._setting.rates[member], self._setting.drafting(member, 1)
        if not self._setting.odds:  # else the next one may stand whatever the member thinks of this one
            stands = self._confidence.behind(frontier.proposals[-1].trust, stands)
            cost += self._widening()
        gain = stands * self._seconds - cost / self._reach(frontier)
        return gain < max(0.0, self._copying(run) if run else 0.0)

    def copies(self, frontier: Frontier, run: int) -> int:
        """How many tokens to look up that were found by a run so long, behind those that are open.

        None where a member that would draft behind them is worth more.
        """
        if self._copying(run) < self._drafting() or self._misleads(run):
            return 0
        rate, reach, count = self._confidence.copied(run), self._reach(frontier), 0
        while count < LOOKED_UP and reach * rate * self._seconds > self._widening():
            reach *= rate
            count += 1
        return count

    def _copying(self, run: int) -> float:
        """Seconds that a token which is looked up saves, if it is reached."""
        return self._confidence.copied(run) * self._seconds - self._widening()

    def _misleads(self, run: int) -> bool:
        """Whether the member that runs next would propose better without tokens in its way that fall."""
        if len(self._setting.needed) == 1:
            return False
        own = max(self._confidence.next(member) for member in self._setting.needed)
        return self._confidence.copied(run) * (1 + own) < own

    def _drafting(self) -> float:
        """Seconds that a token of the best drafting member saves, if it is reached."""
        rates = self._setting.rates
        gains = [rate * self._seconds - self._setting.drafting(member, 1) for member, rate in enumerate(rates)]
        return max(0.0, *gains)

    def _widening(self) -> float:
        """Seconds that one more token adds to the forwards that decide it."""
        times = [self._setting.forwards[member] for member in self._setting.needed]
        return sum(each[1 + NEAR] - each[1] for each in times) / NEAR

    def _reach(self, frontier: Frontier) -> float:
        """The chance that all open proposals stand."""
        reach = 1.0
        for proposal in frontier.proposals:
            rate = 1.0 if proposal.member is None else self._setting.rates[proposal.member]
            reach *= self._confidence.stands(proposal.trust, rate)
        return max(reach, 1e-3)
