"""The schedule `auto`, which all rows of an ensemble share, and its policy for one row.

The policy uses measured times, committed tokens, and proposals that are not decided. It only chooses the members that
run next and the number of proposed tokens. It does not change the law of the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from unisono.auto.acceptance import SURE, Confidence, Rates, expected, level
from unisono.auto.batch import Batch, Common
from unisono.auto.draft_length import LOOKED_UP, Worth
from unisono.auto.notes import Notes, trusts
from unisono.auto.planner import Plan, best
from unisono.auto.setting import Setting
from unisono.decoding.events import Accepted, Drawn, Forward, Measured, Proposed, Replaced, StepBegan, StepEnded
from unisono.decoding.policy import MemberLaws, Policy, RowRequest, Schedule, Turn, View
from unisono.decoding.proposals import FORCED, Name, Proposal
from unisono.decoding.schedules import LOOKUP, standard
from unisono.transfer import on_host

STRETCH = 2  # tokens that a draft adds to the plan's length, if members are drawn
FAR = 16  # the most tokens of a draft if one row runs; `goes_on` ends the draft where its member is unsure
EVERY = 4  # rounds between two comparisons of members
FEW = 5  # comparing members at this number of positions, or at fewer positions, takes almost no time
PATIENCE = 32  # the largest number of rounds between two plans of one row
LOOK = 10  # comparing is cheap if each forward takes LOOK times as long as a turn takes outside of forwards


class Auto(Schedule):
    """The schedule `auto`. Its rows share a `Batch`. The arguments are those of `Batch`."""

    hears = (StepBegan, Forward, StepEnded)

    def __init__(self, parameters: Sequence[int], twins: Sequence[tuple[int, ...]] = ()) -> None:
        super().__init__("auto")
        self.batch = Batch(parameters, twins)

    def policy(self, request: RowRequest) -> Policy:
        return AutoPolicy(request, self.batch)

    def observe(self, event: Any) -> None:
        self.batch.observe(event)


class AutoPolicy(Policy):
    """Decides which members run and propose next for one row.

    If one row runs, the row has its own plan, and each draft ends where another proposal is not worth its cost. If
    several rows run, the rows of one kind follow one plan and draft equally many tokens, so that each forward serves
    many rows.

    Args:
        choose: a function that returns the plan to follow.
    """

    hears = (Proposed, Measured, Accepted, Replaced, Drawn)

    def __init__(self, request: RowRequest, batch: Batch, choose: Callable[[Setting], Plan] = best) -> None:
        self._request, self._batch, self._choose = request, batch, choose
        self._kind = request.combination.name, request.needed, request.odds, request.warp, request.verification
        self._greedy = request.warp.greedy
        traits = request.combination.traits(request.warp)
        self._leads = traits.opener
        self._all = traits.opener is None and traits.certainty is None  # whether all needed members score all positions
        first = expected(self._greedy)
        coupled = request.verification == "coupled" and not self._greedy
        rates = batch.rates(self._kind, first)
        self.confidence = Confidence(Rates(first, rates), coupled)
        self._everywhere = Confidence(rates, coupled)  # the estimates of all rows
        self._rounds = self._next = 0
        self._alone = True  # whether the row follows its own plan
        self._often = False  # whether comparing members takes almost no time
        self._drafts = False  # whether the current turn may propose several tokens
        self._sure = False  # whether the current turn drafts by the confidence of all rows
        self._reads = False  # whether the member of the current turn has positions to score
        self._looks = False  # whether the current turn may look up tokens
        self._faded = False  # whether a look-up was not worth its cost in the current turn
        self._plan: Plan | None = None
        self._worth: Worth | None = None
        self._common: Common | None = None
        self._notes = Notes()
        self._drawn: dict[int, int] = {}  # the drawn member by position, for the positions where it is known
        self._trust: object = None  # the trust that the last call of `draws` found
        self._run = 0  # the length of the token run that was looked up last
        self._devices: set[Name] = set()  # proposers whose laws are not on the host

    @property
    def following(self) -> str:
        return self._plan.schedule.name if self._plan else ""

    def turn(self, view: View) -> Turn:
        self._begin(view)
        turn = self._own_turn(view) if self._alone else self._common_turn(view)
        self._rounds += 1
        self._drafts, self._reads = _length(turn) > 1, view.scored[turn.members[0]] <= view.open
        self._looks = self._may_look(turn)
        return replace(turn, drafts=(*turn.drafts, (LOOKUP, LOOKED_UP))) if self._looks else turn

    def _begin(self, view: View) -> None:
        alone = self._batch.rows == 1
        if alone is not self._alone:
            self._alone, self._plan = alone, None
        self._drawn = {self._notes.position + offset: member for offset, member in enumerate(view.drawn)}
        self._notes.begin()
        self._faded = False

    def _own_turn(self, view: View) -> Turn:
        """Return the turn of a row that runs alone. The method `goes_on` may end the draft early."""
        if self._plan is None or self._worth is None or self._rounds >= self._next:
            self._plan, self._worth = self._decide(len(view.scored))
        self._batch.follow(self._plan)
        self.lazy, self.reads_on, self._sure = True, False, False
        return self._further(self._plan.turn(view), view, self._worth)

    def _common_turn(self, view: View) -> Turn:
        """Return the turn of the plan that all rows of the kind follow, for the member whose turn it is."""
        batch, members = self._batch, len(view.scored)
        common = batch.common(self._kind, lambda: self._planned(members, self._everywhere), self._everywhere)
        self._common, self._plan, self._worth = common, common.plan, common.worth
        batch.follow(common.plan)
        # If members are drawn, `standard` waits for all members, because otherwise the rows would not run together
        self.reads_on, self.lazy = True, common.plan.proposes or not self._request.odds
        needed = view.needed if self.lazy else self._request.needed
        order = common.setting.scorers
        usual = view.proposer if view.proposer in order else order[0]
        following = batch.next(order, usual) if self._all else usual
        reads = following in self._request.needed and view.scored[following] < max(view.open, 1)
        if self._all and reads and common.plan.start is None:
            needed = (following,)
        turn = common.plan.turn(replace(view, needed=needed, proposer=following))
        self._sure = _length(turn) > 1 and not self._request.odds  # with odds, trust says nothing about the next token
        return _drafting(turn.members[0], FAR) if self._sure else turn

    def _may_look(self, turn: Turn) -> bool:
        # A block of `risky` ends where the next token is drawn without a proposal, so no tokens are looked up there
        blocks = self._request.odds and self.following != "risky:0"
        if self._request.verification == "block" or blocks or len(turn.members) > 1:
            return False
        if self._common is None or self._alone:
            return True
        return self._batch.looks(self._common)

    def _further(self, turn: Turn, view: View, worth: Worth) -> Turn:
        """Return the turn with a longer draft or a better member."""
        if not turn.drafts:
            return turn
        (member,) = turn.members
        if self._request.odds:
            return _drafting(member, _length(turn) + STRETCH * (_length(turn) > 1))
        if view.open == 0 and any(view.scored):  # the last member scored the position and proposed nothing
            member = view.least_scored()
        return _drafting(worth.before(member, view) if any(view.scored) else worth.first(member), FAR)

    def _decide(self, members: int) -> tuple[Plan, Worth]:
        setting, plan = self._planned(members, self.confidence)
        fastest = min(setting.forwards[member][1] for member in setting.needed)
        self._often = not setting.odds and 0 < LOOK * setting.turn < fastest
        self._next = self._rounds + min(PATIENCE, max(2, self._rounds))
        return plan, Worth(setting, plan.seconds, self.confidence, self._leads)

    def _planned(self, members: int, confidence: Confidence) -> tuple[Setting, Plan]:
        setting = self._batch.setting(self._request, members, confidence, self.following)
        if setting.rows > 1 and not self._batch.priced(setting):
            return setting, Plan(standard(), setting.standard())
        return setting, self._choose(setting)

    def draws(self, open: Sequence[Proposal], proposer: Name, scores: MemberLaws) -> bool:
        """Return whether the next proposal is worth its cost. Return True if the policy has no estimate for it."""
        if isinstance(proposer, str):
            return True
        if not self._alone:
            self._trust = self._trust_in(proposer, scores) if self._sure else None
            return True
        if self._drawn.get(self._notes.position + len(open)) == proposer:
            self._trust = SURE
            return True
        self._trust = self._trust_in(proposer, scores)
        if self._worth is None or not self._reads or self._request.odds:
            return True
        return self._worth.starts(self._notes.open, proposer, self._trust)

    def _trust_in(self, member: int, scores: MemberLaws) -> object:
        """Return the trust of the member's next proposal. The trust is the name of an acceptance estimate.

        Return None if the law is on a device, because the policy does not wait for devices.
        """
        if not self._drafts or member in self._devices:
            return None
        law = scores.raw if self._greedy else scores.law
        if not on_host(law):
            self._devices.add(member)
            return None
        return "draft", member, level(float(law.amax()))

    def goes_on(self, open: Sequence[Proposal], proposer: Name) -> bool:
        if self._worth is None or isinstance(proposer, str):
            return True
        if self._common is not None and not self._alone:
            return not self._sure or self._common.drafts_on(proposer)
        goes_on = self._worth.goes_on(self._notes.open, proposer, self._found(open))
        if not goes_on:
            self.confidence.fade(trusts(self._notes.open))
        return goes_on

    def _found(self, open: Sequence[Proposal]) -> int:
        """Return how many last tokens were looked up successfully, to copy tokens after the open proposals.

        Return 0 if copying is not worth its cost. If open tokens are still on a device, return 0 without waiting.
        """
        tokens = [proposal.token for proposal in open if isinstance(proposal.token, int)]
        if not self._looks or len(tokens) < len(open):
            return 0
        found, run = self._request.text.find(tokens, LOOKED_UP)
        worth = found and self.copies(open, run) > 0
        return run if worth and self._request.ends.isdisjoint(tokens) else 0

    def copies(self, open: Sequence[Proposal], run: int) -> int:
        self._run = run
        if self._worth is None or run == 0:
            return 0
        share = 1.0
        if self._common is not None and not self._alone:
            self._common.found += 1
            share = self._batch.copying(self._common)
        if self._worth.copying(run, share):
            return self._worth.copies(self._notes.open, run, share)
        if not self._faded:
            self.confidence.fade_copied(run)
        self._faded = True
        return 0

    def measures(self, positions: int) -> bool:
        """Return whether to compare members in this round.

        The policy compares members every few rounds, or in every round if comparing takes almost no time.
        """
        often = self._often and self._request.plain and positions <= FEW  # a user-defined edit may take long
        return often or self._rounds < EVERY or self._rounds % (EVERY * min(self._batch.rows, EVERY)) == 0

    def observe(self, event: Any) -> None:
        match event:
            case Proposed():
                self._notes.add(event.proposer, self._trust_of(event.proposer))
                if self._sure and self._common is not None and isinstance(event.proposer, int):
                    self._common.propose(self._common.worth.chance(self._notes.open, event.proposer))
            case Measured():
                self._notes.measured = True
                self._learn(event)
            case Accepted():
                for _ in event.tokens:
                    self._notes.decided(True, self.confidence)
            case Replaced():
                self._notes.decided(False, self.confidence)
                self._replaced(event.position)
            case Drawn():
                self._replaced(event.position)

    def _trust_of(self, proposer: Name) -> object:
        if isinstance(proposer, int):
            return self._trust
        return {LOOKUP: ("lookup", self._run), FORCED: SURE}.get(proposer)

    def _learn(self, event: Measured) -> None:
        """Record the comparisons, except at positions for which the compared member itself is drawn."""
        pairs = enumerate(zip(event.overlaps, event.surest, strict=True), event.first)
        compared = [(position, pair) for position, pair in pairs if self._drawn.get(position) != event.member]
        for position, (overlap, surest) in compared:
            self.confidence.agreed(event.member, position, overlap, surest)
        if not compared:
            self.confidence.unseen(event.member)

    def _replaced(self, position: int) -> None:
        self._notes.replaced(position)
        if not self._request.odds:  # later draws may depend on the text
            self._drawn.clear()


def _length(turn: Turn) -> int:
    return turn.drafts[0][1] if turn.drafts else 0


def _drafting(member: int, length: int) -> Turn:
    return Turn((member,), ((member, length),))
