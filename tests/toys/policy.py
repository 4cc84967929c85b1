"""A policy that keeps notes: it drafts for longer after each accepted draft, and for less after a rejection."""

from collections.abc import Sequence

from unisono.decoding import Schedule, Turn, View
from unisono.decoding.events import Accepted, Replaced
from unisono.decoding.policy import MemberLaws
from unisono.decoding.proposals import Name, Proposal

SURE = 0.05  # a token is drafted where its member gives some token at least this probability


class Growing(Schedule):
    """See the module. Each row has a copy of its own, so that the notes are those of one row."""

    hears = (Accepted, Replaced)
    length = 1

    def turn(self, view: View) -> Turn:
        member = view.least_scored()
        return Turn((member,), ((member, self.length),))

    def draws(self, open: Sequence[Proposal], proposer: Name, scores: MemberLaws) -> bool:
        return not open or float(scores.raw.max()) > SURE

    def goes_on(self, open: Sequence[Proposal], proposer: Name) -> bool:
        return len(open) <= self.length

    def observe(self, event: Accepted | Replaced) -> None:
        self.length = min(4, self.length + len(event.tokens)) if isinstance(event, Accepted) else 1
