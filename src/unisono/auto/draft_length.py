"""Decides whether another proposal is worth its cost.

An accepted proposal saves the time that the row currently takes per token. A proposal is worth its cost if its
acceptance probability, times the seconds per token, is larger than the seconds for proposing it. All numbers in this
module are estimates. They affect the speed, not the text.
"""

from collections.abc import Sequence

from unisono.auto.acceptance import Confidence
from unisono.auto.notes import Note, trusts
from unisono.auto.setting import Setting
from unisono.auto.static import SMALL
from unisono.decoding.policy import View

LOOKED_UP = 12  # the largest number of tokens in one look-up
NEAR = 5  # the cost of one more token is a mean over NEAR tokens, because single widths may be cheap or expensive
CLEAR = 0.1  # another first proposer must save this share of the time per token


class Worth:
    """Estimates whether proposals for one row are worth their cost. The row follows one plan.

    Args:
        seconds: the expected seconds per token.
        leads: a member whose scores alone often determine the law of a position, or None.
    """

    def __init__(self, setting: Setting, seconds: float, confidence: Confidence, leads: int | None = None) -> None:
        self._setting = setting
        self._seconds = seconds
        self._confidence = confidence
        self._leads = leads

    def first(self, member: int) -> int:
        """Return the member that should propose first: `member`, or another needed member that is clearly better."""
        other = max(self._setting.scorers, key=self._opening)
        if member not in self._setting.needed:
            return member
        gain = self._opening(other) - self._opening(member)
        return other if gain > CLEAR * self._seconds else member

    def _opening(self, member: int) -> float:
        """Return the expected seconds that the row saves if the member scores and proposes first.

        If the member is `leads`, the forwards of the other members may be saved too.
        """
        saved = self._seconds
        if member == self._leads:
            others = [each for each in self._setting.scorers if each != member]
            saved += sum(self._cost(other) for other in others)
        return self._confidence.next(member) * saved - self._cost(member)

    def before(self, member: int, view: View) -> int:
        """Return the member that should propose next: `member`, or a much cheaper needed member.

        The cheaper member is chosen only among members that have not scored all open proposals.
        """
        if member not in self._setting.needed or member == self._leads:
            return member
        unread = [other for other in self._setting.scorers if view.scored[other] < max(view.open, 1)]
        cheapest = min(unread, key=self._cost, default=member)
        return cheapest if self._cost(cheapest) < SMALL * self._cost(member) else member

    def _cost(self, member: int) -> float:
        return self._setting.scoring(member, 1)

    def starts(self, open: Sequence[Note], member: int, trust: object) -> bool:
        """Return whether the member's next proposal saves more time than it adds to the forwards of other members.

        `trust` is the trust of this proposal.
        """
        stands = self._confidence.stands(trust, self._setting.rates[member])
        return self._reach(open) * stands * self._seconds > self._widening(member)

    def goes_on(self, open: Sequence[Note], member: int, run: int) -> bool:
        """Return whether one more proposal of the member, after the open proposals, saves more time than it costs.

        If tokens to copy were found, the proposal must also save at least as much time as the first copied token.

        Args:
            run: the number of last tokens of the text that were looked up; 0 if the look-up found no tokens to copy.
        """
        stands, cost = self._setting.rates[member], self._setting.drafting(member, 1)
        if not self._setting.odds:  # with odds, the trust of one proposal says nothing about the next proposal
            stands = self._confidence.behind(trusts(open), stands)
            cost += self._widening(member)
        gain = stands * self._seconds - cost / self._reach(open)
        return gain >= max(0.0, self._copied(run) if run else 0.0)

    def chance(self, open: Sequence[Note], member: int) -> float:
        """Return the probability that the open proposals and one more proposal of the member are accepted."""
        return self._reach(open) * self._confidence.behind(trusts(open), self._setting.rates[member])

    def drafts_on(self, chance: float, member: int) -> bool:
        """Return whether one more proposal of the member for each row of a batch saves more time than it costs.

        chance: the mean of `chance` over the rows.
        """
        return chance * self._seconds > self._setting.drafting(member, 1) + self._widening(member)

    def copying(self, run: int, share: float = 1.0) -> bool:
        """Return whether looking up tokens saves more time than proposals of the members at the same positions.

        share: the share of the rows of a batch that copy tokens. All rows wait for the wider forwards.
        """
        return self._copied(run, share) >= self._drafting() and not self._misleads(run)

    def copies(self, open: Sequence[Note], run: int, share: float = 1.0) -> int:
        """Return the number of tokens to copy after the open proposals, if a run of `run` tokens was looked up.

        share: the share of the rows of a batch that copy tokens.
        """
        rate, reach, count = self._confidence.copied(run), self._reach(open), 0
        while count < LOOKED_UP and share * reach * rate * self._seconds > self._widening():
            reach *= rate
            count += 1
        return count

    def _copied(self, run: int, share: float = 1.0) -> float:
        """Return the seconds that a looked-up token saves, if all proposals before it are accepted."""
        return share * self._confidence.copied(run) * self._seconds - self._widening()

    def _misleads(self, run: int) -> bool:
        """Return whether proposals of a member are expected to give more accepted tokens than looking up tokens."""
        if len(self._setting.scorers) == 1:
            return False
        own = max(self._confidence.next(member) for member in self._setting.scorers)
        return self._confidence.copied(run) * (1 + own) < own

    def _drafting(self) -> float:
        """Return the seconds that a proposal of the best member saves, if all proposals before it are accepted."""
        gains = [0.0]
        for member, rate in enumerate(self._setting.rates):
            gains.append(rate * self._seconds - self._setting.drafting(member, 1))
        return max(gains)

    def _widening(self, proposer: int | None = None) -> float:
        """Return the seconds that one more proposal adds to the forwards of the members that decide it.

        The forwards of the proposer are not counted.
        """
        seconds = 0.0
        for member in self._setting.scorers:
            if member != proposer:
                times = self._setting.times(member)
                seconds += times[1 + NEAR] - times[1]
        return seconds / NEAR

    def _reach(self, open: Sequence[Note]) -> float:
        reach = 1.0
        for note in open:
            rate = 1.0 if isinstance(note.proposer, str) else self._setting.rates[note.proposer]
            reach *= self._confidence.stands(note.trust, rate)
        return max(reach, 1e-3)
