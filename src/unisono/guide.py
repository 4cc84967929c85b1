"""What one row adds to its schedule: the pilot of `auto`, what it learns, and the text to look up in."""

from torch import Tensor

from unisono.confidence import SURE
from unisono.frontier import Frontier
from unisono.lookup import Lookup
from unisono.needs import Needs
from unisono.pilot import Pilot
from unisono.schedules import Turn, View
from unisono.task import Method, Settled, Task

FEW = 5  # positions: members are compared with that many targets in next to no time


class Guide:
    """Asks the schedule of one row, or the pilot in its place.

    Whatever it looks at is committed, or a proposal that stays one; so nothing here changes the law of the text.
    """

    def __init__(self, method: Method, task: Task, frontier: Frontier, needs: Needs) -> None:
        self.pilot: Pilot | None = method.schedule.steer() if method.schedule.steer else None
        self._schedule, self._task, self._frontier, self._needs = method.schedule, task, frontier, needs
        self.trust: object = None  # what the pilot tells the proposal apart by that was asked about last
        self._text: Lookup | None = None  # once something was looked up
        self._lookup = 0  # how many tokens the present turn may look up

    def turn(self, view: View) -> Turn:
        """Whom the schedule wants next."""
        turn = (self.pilot or self._schedule).turn(view)
        self._lookup = getattr(turn, "lookup", 0)
        return turn

    def count(self, plans: dict[str, int]) -> None:
        """A turn was taken by the plan that the pilot follows."""
        if self.pilot is not None:
            plans[self.pilot.name] = plans.get(self.pilot.name, 0) + 1

    def curious(self, positions: int) -> bool:
        """Whether how far members agree is to be measured in this round, in which so many positions are known."""
        cheap = self._task.edits.nothing and positions <= FEW  # a processor of a user may take any time
        return self.pilot is not None and self.pilot.curious(cheap)

    def learn(self, settled: Settled) -> None:
        """Something was decided, and is not committed yet."""
        if self.pilot is None:
            return
        proposals = self._frontier.proposals[: len(settled.tokens)]
        self.pilot.decided([proposal.trust for proposal in proposals], settled.accepted, bool(settled.overlaps))
        for member, overlaps in enumerate(settled.overlaps):
            asked = [offset for offset in range(len(overlaps)) if not self._stands(offset, member)]
            for offset in asked:
                self.pilot.agreed(member, self._frontier.position + offset, *overlaps[offset])
            if not asked:
                self.pilot.unseen(member)

    def starts(self, member: int, law: Tensor) -> bool:
        """Whether a proposal of the member from this law [V], behind those that are open, is worth deciding."""
        if self.pilot is None:
            return True
        if self._stands(self._frontier.open, member):
            self.trust = SURE
            return True
        self.trust = self.pilot.trust(member, law, self._frontier.law_source(member))
        return self.pilot.starts(self._frontier, member, self.trust)

    def stops(self, member: int) -> bool:
        """Whether one more proposal of the member is not worth its forward, or the text has some to go on with."""
        if self.pilot is None:
            return False
        known = all(isinstance(proposal.token, int) for proposal in self._frontier.proposals)
        run = self.find(self._lookup)[1] if known else 0  # a draft does not wait for its device to be looked up
        return self.pilot.stops(self._frontier, member, run)

    def find(self, most: int) -> tuple[list[int], int]:
        """Up to `most` tokens that are worth looking up behind the open ones, and how long a run they were found by."""
        ends = self._task.ends
        if most <= 0:
            return [], 0
        open = [int(proposal.token) for proposal in self._frontier.proposals]  # waits for drafts on a device
        if self._text is None:
            self._text = Lookup(self._task.prompts[0])
        self._text.read(self._frontier.committed)
        found, run = self._text.find(open, most)
        if self.pilot is not None:
            found = found[: self.pilot.copies(self._frontier, run)]
        if not found or any(token in ends for token in open):
            return [], 0
        return found[: next((place + 1 for place, token in enumerate(found) if token in ends), most)], run

    def _stands(self, offset: int, member: int) -> bool:
        """Whether an open position follows the member, so that what it proposes there stands."""
        return self._needs.draws and self._needs.drawn(offset) == member
