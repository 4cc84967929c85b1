"""Drafting by confidence: what is learnt of sure and unsure proposals, what is worth proposing, and what it saves."""

import pytest
import torch

from tests.core.helpers import HistoryMember, Made, observed, requested
from tests.core.test_auto import auto_of
from unisono.auto import policy
from unisono.auto.acceptance import AGREEMENT, GREEDY, LEVELS, SURE, Confidence, Rates, expected, level
from unisono.auto.draft_length import LOOKED_UP, Worth
from unisono.auto.notes import Note
from unisono.auto.planner import Plan
from unisono.auto.policy import FAR, Auto, AutoPolicy
from unisono.auto.setting import Setting
from unisono.combine import cascade, drawn, proxy, weighted
from unisono.combine.base import Combination
from unisono.combine.positions import GivenScores
from unisono.decoding import RowRequest, Schedule, Turn, View, cos, speculative, standard
from unisono.decoding.events import Accepted, Drawn, Forward, Measured, Proposed, Replaced, StepBegan
from unisono.decoding.proposals import FORCED, Proposal
from unisono.decoding.row import Row
from unisono.decoding.schedules import LOOKUP
from unisono.decoding.seat import GivenLaw
from unisono.decoding.verification import VERIFICATIONS
from unisono.errors import ConfigurationError
from unisono.members.table import TableMember
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import largest_error

TOP = len(LEVELS)
UNSURE, CERTAIN = ("draft", 0, 0), ("draft", 0, TOP)


def confidence(greedy: bool = True) -> Confidence:
    return Confidence(Rates(expected(greedy)))


def worth(known: Confidence, costs=(1.0, 1.0), wide=0.05, price=1.5, leads=None, rates=(0.7, 0.7, 0.7)) -> Worth:
    """Of members that take so long per token, `wide` of it more for each further one."""
    forwards = [[0.0, *(cost * (1 + wide * more) for more in range(16))] for cost in costs]
    setting = Setting(tuple(range(len(costs))), 0, forwards, 0.0, 0.0, rates[: len(costs)])
    return Worth(setting, price, known, leads)


def notes(*trusts: object) -> list[Note]:
    return [Note(0, trust) for trust in trusts]


def test_members_are_taken_at_their_word_at_first():
    """Greedy: the likeliest token stands as often as it is likely; drawn: laws overlap a good deal in any case."""
    greedy, drawn = confidence(True), confidence(False)
    assert [known.stands(UNSURE, 0.1) for known in (greedy, drawn)] == [GREEDY, AGREEMENT]
    assert [known.stands(CERTAIN, 0.1) for known in (greedy, drawn)] == [LEVELS[-1]] * 2
    assert greedy.behind([CERTAIN], 0.1) > greedy.behind([UNSURE], 0.1) > GREEDY
    assert (greedy.stands(SURE, 0.1), greedy.stands(None, 0.1), greedy.behind([None], 0.1)) == (1.0, 0.1, 0.1)


def test_levels_of_a_law():
    """By the largest probability; a limit itself counts as below."""
    for index, limit in enumerate(LEVELS):
        law = torch.tensor([limit, 1 - limit], dtype=torch.float64)
        assert level(float(law.max())) == max(index, sum(1 - limit > each for each in LEVELS))
    assert level(1.0) == TOP


def test_what_falls_behind_a_fall_teaches_nothing():
    """Numbers are of proposals whose predecessors stood; `behind` needs two of one member."""
    known = confidence()
    before = known.stands(("draft", 1, 2), 0.0)
    for _ in range(200):
        known.decided([CERTAIN], True)
        known.decided([CERTAIN, UNSURE], False)
    assert known.stands(CERTAIN, 0.0) > 0.99
    assert known.stands(UNSURE, 0.0) < 0.05
    assert known.stands(("draft", 1, 2), 0.0) == before
    assert known.behind([CERTAIN], 0.0) < 0.1  # an unsure one came behind it, and fell
    other = known.behind([("draft", 1, 2)], 0.0)
    known.decided([("draft", 1, 2), UNSURE], True)
    assert known.behind([("draft", 1, 2)], 0.0) == other  # not of the same member


def test_how_a_member_did_last():
    """One that was right goes on to be right, as far as it did before; what is not looked at fades."""
    known = confidence()
    for place in range(600):
        known.agreed(0, place, float(place % 10 < 5), 0.5)
    assert known.agreement(0) == pytest.approx(0.5, abs=0.1)
    assert known.next(0) < 0.4  # it ended with five misses
    known.agreed(0, 600, 1.0, 0.5)
    assert known.next(0) > 0.6
    assert known.next(1) == AGREEMENT
    for _ in range(20_000):
        known.unseen(0)
    assert known.agreement(0) == pytest.approx(AGREEMENT, abs=0.01)


def test_a_sure_member_goes_on_and_an_unsure_one_stops():
    """Drafting costs a forward; it pays while all that is open probably stands."""
    judge = worth(confidence())
    assert judge.goes_on(notes(CERTAIN), 0, 0)
    assert not judge.goes_on(notes(UNSURE), 0, 0)
    assert not judge.goes_on(notes(*[("draft", 0, 3)] * 3), 0, 0)
    assert not worth(confidence(), price=1.0).goes_on(
        notes(CERTAIN), 0, 0
    )  # two members as good: taking turns is as fast
    assert worth(confidence(), costs=(0.1, 1.0)).goes_on(notes(UNSURE), 0, 0)  # nearly for nothing


def test_an_unsure_proposal_is_not_worth_a_dear_place():
    """It costs no forward of its own, but makes another one wider."""
    cheap, dear = worth(confidence()), worth(confidence(), wide=0.6)
    assert cheap.starts(notes(), 0, UNSURE)
    assert not dear.starts(notes(), 0, UNSURE)
    assert dear.starts(notes(), 0, CERTAIN)
    assert not dear.starts(notes(*[("draft", 1, 1)] * 3), 0, CERTAIN)


def test_who_begins():
    """The member that was right last; one that may fix the law alone begins unless it is clearly worse."""
    known = confidence()
    assert worth(known).first(0) == 0
    assert worth(known).first(1) == 1
    for place in range(20):
        known.agreed(0, place, 0.0, 0.2)
        known.agreed(1, place, 1.0, 1.0)
    assert worth(known).first(0) == 1
    assert worth(known, leads=0).first(0) == 1
    known = confidence()
    for place in range(20):
        known.agreed(0, place, 0.6, 0.6)
        known.agreed(1, place, 1.0, 1.0)
    assert worth(known).first(0) == 1
    assert worth(known, leads=0).first(0) == 0
    assert worth(known, costs=(0.1, 1.0)).first(0) == 0


def test_cheap_members_go_before_dear_ones():
    """What they propose is scored by the same forward; whoever proposed last has nothing to add."""
    judge = worth(confidence(), costs=(1.0, 0.1, 0.1))
    assert judge.before(0, View(2, (0, 2, 0), (0, 1, 2), 1)) == 2
    assert judge.before(0, View(2, (0, 2, 2), (0, 1, 2), 1)) == 0
    assert judge.before(0, View(3, (0, 2, 3), (0, 1, 2), 1)) == 1
    assert judge.before(0, View(0, (0, 1, 0), (0, 1, 2), 1)) == 2
    assert worth(confidence(), costs=(1.0, 0.9)).before(0, View(2, (0, 0), (0, 1), 1)) == 0


def test_text_that_misleads_is_not_looked_up():
    """A token that falls takes the place of one that would stand."""
    known = confidence()
    assert 0 < worth(known, wide=0.01).copies(notes(), 3) <= LOOKED_UP
    for place in range(50):
        known.decided([("lookup", 3)], False)
        known.agreed(1, place, 1.0, 1.0)
    assert not worth(known, wide=0.0).copying(3)
    assert worth(known, wide=0.0).copying(4)


LETTERS, HALF = 16, 8


def specialists(count: int) -> list[TableMember]:
    """Each knows which letter follows the letters of its half, and guesses wrong behind the others."""
    members = []
    for member in range(count):
        laws = torch.full((LETTERS, LETTERS), 0.8 / (LETTERS - 1), dtype=torch.float64)
        for letter in range(LETTERS):
            right = (letter + 1) % LETTERS
            if letter // HALF == member % 2:
                laws[letter] = 1e-6
                laws[letter, right] = 1.0
            else:
                laws[letter, (letter + 5) % LETTERS] = 0.2
        members.append(TableMember(laws / laws.sum(-1, keepdim=True), f"half-{member}"))
    return members


def spent(combination: Combination, costs: list[float], schedule: str) -> float:
    """Seconds of forwards per token, members taking so long each, however many tokens they read."""
    members = specialists(len(costs))
    auto = auto_of(costs, 0.01)
    auto.batch.costs.add_step(0.01, 0)
    fixed = cos(*[1] * len(costs)) if schedule == "cos" else standard()
    plan = Made(lambda request: AutoPolicy(request, auto.batch)) if schedule == "auto" else fixed
    run = observed(members, plan, KeyedNoise(0), 200, combination, Warp(0))
    assert len(run.tokens) == 200
    assert all((after - before) % LETTERS == 1 for before, after in zip(run.tokens, run.tokens[1:], strict=False))
    return sum(cost * each.forwards for cost, each in zip(costs, run.row.stats.members, strict=True)) / 200


@pytest.mark.parametrize(
    ("combination", "costs", "most"),
    [
        (weighted([0.5, 0.5]), [1.0, 1.0], 0.9),
        (cascade("chow", 0.3), [1.0, 1.0], 0.95),
        (proxy(0.5), [1.0, 0.1, 0.1], 0.6),
    ],
    ids=["weighted", "cascade", "proxy"],
)
def test_specialists_draft_what_they_know(combination: Combination, costs: list[float], most: float):
    """Each half is drafted by the member that knows it: fewer forwards than taking turns, far fewer than `standard`."""
    auto, turns = spent(combination, costs, "auto"), spent(combination, costs, "cos")
    assert auto < most * turns
    assert auto < 0.7 * spent(combination, costs, "standard")


def test_only_a_row_alone_drafts_far():
    """It ends its draft by itself; several rows end theirs together, or at the plan's length if members are drawn."""
    view = View(0, (0, 0), (0, 1), 0)
    plans = {length: Plan(cos(length, length), 1.0) for length in (1, 3)} | {0: Plan(standard(), 1.0)}

    def length(rows: int, planned: int, combination: Combination | None = None) -> int:
        auto = auto_of([1.0, 1.0], 0.1, rows)
        auto.observe(StepBegan(rows))
        request = requested(combination or weighted([1, 1]))
        drafts = AutoPolicy(request, auto.batch, lambda setting: plans[planned]).turn(view).drafts
        return sum(steps for proposer, steps in drafts if proposer != LOOKUP)

    assert [length(1, 1), length(1, 0), length(4, 1), length(4, 3)] == [FAR, 0, 1, FAR]
    assert length(4, 3, drawn([1, 1])) == 3


def test_a_batch_goes_on_together():
    """The mean over the rows decides for all: a row that would stop by itself goes on beside one that is sure."""
    view, sure, unsure = View(0, (0, 0), (0, 1), 0), torch.tensor([0.999, 0.001]), torch.full((10,), 0.1)
    for laws, goes_on in (((sure, unsure), True), ((unsure, sure), True), ((unsure, unsure), False)):
        auto = auto_of([1.0, 0.05], 0.01, 2)
        auto.observe(StepBegan(2))
        auto.observe(Forward((0,), 2, 1, 2, 1.0, 0.0))
        request = requested(weighted([1, 1]), warp=Warp(0))
        rows = [AutoPolicy(request, auto.batch, lambda setting: Plan(cos(1, 4), 0.2)) for _ in laws]
        assert [row.turn(view).drafts[0] for row in rows] == [(1, FAR)] * 2
        for row, law in zip(rows, laws, strict=True):
            assert row.draws([], 1, GivenLaw(law, law))
            row.observe(Proposed(0, 0, 1))
        assert [row.goes_on([Proposal(0, None, 1)], 1) for row in rows] == [goes_on] * 2


class Steady(AutoPolicy):
    """The policy itself, with times that do not change; plans follow one another by what it has learnt."""

    def __init__(self, request: RowRequest, costs: list[float], wide: float) -> None:
        count = len(costs)
        schedules = [cos(*[1] * count), speculative(2), cos(*range(1, count + 1)), standard()]
        plans = [Plan(schedule, 1.2, start) for schedule in schedules for start in (None, 0, 1)]
        super().__init__(
            request,
            auto_of(costs, wide).batch,
            lambda setting: plans[(self._rounds + int(1e6 * sum(setting.rates))) % len(plans)],
        )

    def measures(self, positions: int) -> bool:
        return True


def steady(costs: list[float], wide: float) -> Schedule:
    return Made(lambda request: Steady(request, costs, wide))


FUSED = [
    "cosd:0.6,0.2",
    "cascade:chow,0.4",
    "cascade:tokenv3,0.3",
    "nudge:0.6",
    "gate:1,1",
    "weighted:0.7,0.3",
    "contrastive:0.4",
]
TIMES = [([1.0, 1.0], 0.02), ([0.1, 1.0], 0.3), ([1.0, 0.1], 0.02), ([1.0, 1.0], 0.8)]


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("rule", ["token", "block"])
def test_the_law_of_the_policy_itself(name: str, rule: str, monkeypatch: pytest.MonkeyPatch):
    """It begins, declines, goes on and stops by laws, times and all it has learnt: the law of three tokens over two letters."""
    monkeypatch.setattr(policy, "PATIENCE", 1)
    pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
    for costs, wide in TIMES:
        for warp in (Warp(), Warp(0)):
            schedule = steady(costs, wide)
            assert largest_error(pair, name, schedule, 3, warp=warp, verification=VERIFICATIONS[rule]) < 1e-12


@pytest.mark.parametrize("name", ["weighted:0.5,0.3,0.2", "proxy:0.5", "cosd:0.6,0.2"])
@pytest.mark.parametrize("rule", ["token", "block", "coupled"])
def test_the_law_of_the_policy_with_three_members(name: str, rule: str, monkeypatch: pytest.MonkeyPatch):
    """Two small members and a large one: the small ones go first, and draft together."""
    monkeypatch.setattr(policy, "PATIENCE", 1)
    three = [HistoryMember.random(2, seed) for seed in (1, 2, 3)]
    for costs in ([1.0, 0.1, 0.1], [0.1, 1.0, 0.1]):
        schedule = steady(costs, 0.05)
        assert largest_error(three, name, schedule, 2, verification=VERIFICATIONS[rule]) < 1e-12


def test_declining_what_was_drawn_is_caught(monkeypatch: pytest.MonkeyPatch):
    """A proposal is declined before it is drawn; looking at the token first would bias the text."""
    pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
    schedule = steady([1.0, 1.0], 0.02)
    assert largest_error(pair, "weighted:0.7,0.3", schedule, 3) < 1e-12
    correct = Row.extend

    def extend(self: Row, draft) -> None:
        correct(self, draft)
        other = 1 - draft.proposer if draft.proposer != LOOKUP else 0
        if draft.laws[0] is None or self.frontier.scored(other) >= self.frontier.open:
            return
        if float(draft.laws[0][draft.tokens[0]]) < 0.5:
            self.frontier.proposals.pop()

    monkeypatch.setattr(Row, "extend", extend)
    assert largest_error(pair, "weighted:0.7,0.3", schedule, 3) > 1e-3


def test_laws_that_are_none_teach_nothing():
    """A member that rules out every allowed token has no law of its own; the rates stay numbers."""
    known = confidence()
    known.agreed(0, 0, float("nan"), float("nan"))
    assert known.agreement(0) == AGREEMENT
    assert known.next(0) == AGREEMENT


def test_only_neighbours_tell_what_stands_behind():
    """Positions that were looked at far apart say who is reliable, but nothing of the next token."""
    known, apart = confidence(), confidence()
    for place in range(40):
        known.agreed(0, place, float(place % 2 == 0), 1.0)
        apart.agreed(0, 4 * place, float(place % 2 == 0), 1.0)
    assert known.behind([CERTAIN], 0.0) < 0.5 < apart.behind([CERTAIN], 0.0)
    assert known.next(0) == pytest.approx(apart.next(0))


def test_coupled_proposals_stand_less_often_than_laws_overlap():
    """The winner of a race is the same with a chance between a / (2 - a) and a."""
    known = Confidence(Rates(expected(False)), coupled=True)
    for place in range(2000):
        known.agreed(0, place, 0.5, 0.6)
    assert known.agreement(0) == pytest.approx((1 / 3 + 1 / 2) / 2, abs=0.01)
    assert known.stands(("draft", 0, level(0.6)), 0.0) == pytest.approx((1 / 3 + 1 / 2) / 2, abs=0.01)


def steered(plan: Plan, **options) -> AutoPolicy:
    return AutoPolicy(requested(weighted([1, 1]), **options), auto_of([1.0, 1.0], 0.1).batch, lambda setting: plan)


LAWS = GivenScores(torch.zeros(2), Warp(0))


def test_a_member_with_nothing_to_read_proposes():
    """Else the turn would do nothing at all, and so would the next one."""
    row = steered(Plan(cos(1, 1), 1e-9))
    row.turn(View(0, (0, 0), (0, 1), 0))
    assert not row.draws([], 0, LAWS)
    row.turn(View(0, (1, 1), (0, 1), 0))
    assert row.draws([], 0, LAWS)


class Refusing(Steady):
    """Lets the first member score what it has scored, and propose nothing."""

    def turn(self, view: View) -> Turn:
        super().turn(view)
        return Turn((0,), ((0, 1),))

    def draws(self, open, proposer, scores) -> bool:
        return False


def test_a_row_without_progress_ends():
    """A refused proposal is none: an error instead of a loop without end."""
    pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
    schedule = Made(lambda request: Refusing(request, [1.0, 1.0], 0.1))
    with pytest.raises(ConfigurationError, match="makes no progress"):
        observed(pair, schedule, KeyedNoise(0), 4)


def test_a_draft_on_a_device_is_not_looked_up(monkeypatch: pytest.MonkeyPatch):
    """Whether to go on is asked behind each draft, and looking a token up would wait for it."""
    row = steered(Plan(cos(1, 1), 1.0), prompt=[1, 2, 1, 2])
    row.turn(View(0, (0, 0), (0, 1), 0))
    looked = []

    def find(open: list[int], most: int) -> tuple[list[int], int]:
        looked.append(open)
        return [], 0

    monkeypatch.setattr(row._request.text, "find", find)
    for token in (1, torch.tensor(1)):
        row._notes.open[:] = notes(CERTAIN)
        row.goes_on([Proposal(token, None, 0)], 0)
    assert looked == [[1]]


def test_laws_on_a_device_are_not_waited_for():
    """Their proposals have no trust, and no further law is made to find that out."""

    class Far:
        made = 0

        @property
        def law(self) -> torch.Tensor:
            self.made += 1
            return torch.empty(2, device="meta")

        raw = law

    row, far = steered(Plan(cos(3, 3), 1.0)), Far()
    row.turn(View(0, (0, 0), (0, 1), 0))
    for place in range(3):
        assert row.draws([], 0, far)
        row.observe(Proposed(place, 1, 0))
    assert far.made == 1
    assert [note.trust for note in row._notes.open] == [None] * 3


def open_trusts(row: AutoPolicy) -> list[object]:
    return [note.trust for note in row._notes.open]


def test_notes_follow_the_proposals():
    """They come with a proposal, and go when it is decided or rolled back."""
    row = steered(Plan(cos(3, 3), 1.0))
    row.turn(View(0, (0, 0), (0, 1), 0))
    row.draws([], 0, GivenScores(torch.tensor([9.0, 0.0]), Warp()))
    row.observe(Proposed(0, 0, 0))
    row.copies([], 3)
    row.observe(Proposed(1, 0, LOOKUP))
    row.observe(Proposed(2, 0, FORCED))
    row.observe(Proposed(3, 0, "another"))
    assert open_trusts(row) == [CERTAIN, ("lookup", 3), SURE, None]
    row.observe(Accepted(0, [0], [0]))
    assert open_trusts(row) == [("lookup", 3), SURE, None]
    row.observe(Replaced(1, 0, LOOKUP, 1))
    assert open_trusts(row) == []
    for name, first in ((CERTAIN, LEVELS[-1]), (("lookup", 3), AGREEMENT)):
        assert (row.confidence.stands(name, 0.0) > first) == (name == CERTAIN)
    assert row.confidence.stands(("lookup", 3), 0.0) < AGREEMENT


def test_proposals_of_the_drawn_member_are_sure():
    """By position, as the view told it; they teach nothing, and neither does comparing that member there."""
    request = requested(drawn([1, 1]))
    row = AutoPolicy(request, Auto([1, 1]).batch, lambda setting: Plan(cos(2, 2), 1.0))
    row.observe(Drawn(0, 1))
    row.turn(View(0, (0, 0), (0, 1), 0, drawn=(1, 0)))
    for place, member in enumerate((1, 1)):
        assert row.draws([Proposal(0, None, 1)] * place, member, GivenScores(torch.tensor([9.0, 0.0]), Warp()))
        row.observe(Proposed(1 + place, 0, member))
    assert open_trusts(row) == [SURE, ("draft", 1, TOP)]
    before = row.confidence.agreement(0)
    row.observe(Measured(0, 1, [0.0, 0.0], [0.5, 0.5]))
    first = row.confidence.agreement(0)
    assert first < before
    row.observe(Measured(0, 2, [0.0], [0.5]))
    assert first < row.confidence.agreement(0)  # it was not compared, so what is known fades


def test_what_is_measured_is_not_counted_twice():
    """Where members were compared, a decision says nothing more about drafted tokens."""
    for measured in (False, True):
        row = steered(Plan(cos(3, 3), 1.0))
        row.turn(View(0, (0, 0), (0, 1), 0))
        row.draws([], 0, GivenScores(torch.tensor([9.0, 0.0]), Warp()))
        row.observe(Proposed(0, 0, 0))
        before = row.confidence.stands(CERTAIN, 0.0)
        if measured:
            row.observe(Measured(0, 0, [], []))
        row.observe(Replaced(0, 0, 0, 1))
        assert (row.confidence.stands(CERTAIN, 0.0) == before) is measured
