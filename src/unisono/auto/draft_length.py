"""What it is worth to propose: the chance that a token stands times what a token takes, less what proposing it costs.

Standing proposals save the time that the row takes per token at present. Nothing here is exact: it decides about speed.
"""

from unisono.auto.acceptance import Confidence
from unisono.auto.planner import Setting
from unisono.auto.static import SMALL
from unisono.decoding.frontier import Frontier
from unisono.decoding.schedules import View

LOOKED_UP = 12  # the most tokens that are looked up at once
NEAR = 5  # tokens over which the cost of one more is a mean: no number of tokens is as cheap as its neighbours
CLEAR = 0.1  # of the time per token: what another member must gain as the first proposer


class Worth:
    """Of proposals of one row while it follows one plan.

    Args:
        seconds: that a token takes. leads: a member that often fixes a position's law alone.
    """

    def __init__(self, setting: Setting, seconds: float, confidence: Confidence, leads: int | None = None) -> None:
        self._setting = setting
        self._seconds = seconds
        self._confidence = confidence
        self._leads = leads

    def first(self, member: int) -> int:
        """Who proposes first: the member that is planned, unless another one that is needed is clearly better now."""
        other = max(self._setting.needed, key=self._opening)
        if member not in self._setting.needed:
            return member
        gain = self._opening(other) - self._opening(member)
        return other if gain > CLEAR * self._seconds else member

    def _opening(self, member: int) -> float:
        """Seconds gained where the member scores and proposes first; it may spare the others if it leads."""
        saved = self._seconds
        if member == self._leads:
            others = [each for each in self._setting.needed if each != member]
            saved += sum(self._cost(other) for other in others)
        return self._confidence.next(member) * saved - self._cost(member)

    def before(self, member: int, view: View) -> int:
        """The member, or another one of the combination that costs much less and may propose something for it to score."""
        if member not in self._setting.needed or member == self._leads:
            return member
        unread = [other for other in self._setting.needed if view.scored[other] < max(view.open, 1)]
        cheapest = min(unread, key=self._cost, default=member)
        return cheapest if self._cost(cheapest) < SMALL * self._cost(member) else member

    def _cost(self, member: int) -> float:
        return self._setting.scoring(member, 1)

    def starts(self, frontier: Frontier, member: int, trust: object) -> bool:
        """Whether the member's next proposal, of this trust, is worth the wider forwards that decide it."""
        stands = self._confidence.stands(trust, self._setting.rates[member])
        return self._reach(frontier) * stands * self._seconds > self._widening(member)

    def stops(self, frontier: Frontier, member: int, run: int) -> bool:
        """Whether another proposal of the member, behind those that are open, is not worth its forward.

        Or the text has better ones, found by a `run` so long; 0 if it has none.
        """
        stands, cost = self._setting.rates[member], self._setting.drafting(member, 1)
        if not self._setting.odds:  # else the next one may stand whatever the member thinks of this one
            stands = self._confidence.behind(trusts(frontier), stands)
            cost += self._widening(member)
        gain = stands * self._seconds - cost / self._reach(frontier)
        return gain < max(0.0, self._copied(run) if run else 0.0)

    def copying(self, run: int) -> bool:
        """Whether looking up is worth more than what members would propose in its place."""
        return self._copied(run) >= self._drafting() and not self._misleads(run)

    def copies(self, frontier: Frontier, run: int) -> int:
        """How many tokens to look up that were found by a run so long, behind those that are open."""
        rate, reach, count = self._confidence.copied(run), self._reach(frontier), 0
        while count < LOOKED_UP and reach * rate * self._seconds > self._widening():
            reach *= rate
            count += 1
        return count

    def _copied(self, run: int) -> float:
        """Seconds that a token which is looked up saves, if it is reached."""
        return self._confidence.copied(run) * self._seconds - self._widening()

    def _misleads(self, run: int) -> bool:
        """Whether a member that runs next would propose better without tokens in its way that fall."""
        if len(self._setting.needed) == 1:
            return False
        own = max(self._confidence.next(member) for member in self._setting.needed)
        return self._confidence.copied(run) * (1 + own) < own

    def _drafting(self) -> float:
        """Seconds that a token of the best drafting member saves, if it is reached."""
        gains = [0.0]
        for member, rate in enumerate(self._setting.rates):
            gains.append(rate * self._seconds - self._setting.drafting(member, 1))
        return max(gains)

    def _widening(self, proposer: int | None = None) -> float:
        """Seconds that one more proposal adds to the forwards that decide it; whoever makes it need not read it again."""
        seconds = 0.0
        for member in self._setting.needed:
            if member != proposer:
                times = self._setting.forwards[member]
                seconds += times[1 + NEAR] - times[1]
        return seconds / NEAR

    def _reach(self, frontier: Frontier) -> float:
        """The chance that all open proposals stand."""
        reach = 1.0
        for proposal in frontier.proposals:
            rate = 1.0 if proposal.member is None else self._setting.rates[proposal.member]
            reach *= self._confidence.stands(proposal.trust, rate)
        return max(reach, 1e-3)


def trusts(frontier: Frontier) -> list[object]:
    """Of the open proposals."""
    return [proposal.trust for proposal in frontier.proposals]
