"""`auto`: exact whatever it is led to choose, the text of `standard` under `coupled`, and the choices themselves."""

import functools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.core.helpers import HistoryMember, Made, chosen, observed, requested
from tests.core.test_mutants import proposals_by_position_alone, reused_names
from unisono.auto import policy
from unisono.auto.acceptance import Rate
from unisono.auto.costs import KEPT, Costs
from unisono.auto.formulas import alternating, drafted, relayed
from unisono.auto.formulas import drawn as drawing
from unisono.auto.planner import Plan, best
from unisono.auto.policy import Auto, AutoPolicy
from unisono.auto.setting import Setting
from unisono.combine import Combination, cascade, contrastive, drawn, only, product, weighted
from unisono.decoding import Policy, RowRequest, Schedule, Turn, View, cos, relay, risky, speculative, standard
from unisono.decoding.events import Forward, Proposed, StepBegan, StepEnded
from unisono.decoding.row import Row
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.table import TableMember
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import assert_law, brute_force, decode, largest_error

named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
TOKEN, BLOCK, COUPLED = (VERIFICATIONS[name] for name in ("token", "block", "coupled"))
PAIRS: list[Combination] = [
    *(weighted([0.7, 0.3]), weighted([0.6, 0.4], order="combine-first"), drawn([0.7, 0.3])),
    *(product([0.6, 0.4]), contrastive(0.4), only(1), cascade("chow", 0.4)),
]


@functools.cache
def members(count: int, vocabulary: int, sparse: bool = False) -> list[HistoryMember]:
    build = HistoryMember.sparse if sparse else HistoryMember.random
    return [build(vocabulary, seed) for seed in range(1, count + 1)]


class Erratic(AutoPolicy):
    """Chooses by whatever it has seen, discarded tokens included, as the worst measurements could lead it to."""

    def __init__(self, request: RowRequest, plans: list[Plan]) -> None:
        super().__init__(request, Auto([1] * 4).batch, lambda setting: plans[self._chaos() % len(plans)])

    def _chaos(self) -> int:
        seen = sum(rate.value * (7 + index) for index, rate in enumerate(self.confidence._rates._rates.values()))
        return int(1e7 * seen) + 5 * self._rounds

    def measures(self, positions: int) -> bool:
        return True

    def turn(self, view: View) -> Turn:
        """Also as one of several rows, which share a plan."""
        self._batch.observe(StepBegan(1 + self._chaos() % 2))
        return super().turn(view)

    def _further(self, turn: Turn, view: View, worth) -> Turn:
        turn = super()._further(turn, view, worth)
        positions = view.open + (view.room > 0)
        unread = [member for member in self._request.needed if view.scored[member] < positions]
        if turn.drafts and unread and not self._request.odds and self._chaos() % 4 == 0:
            member = unread[self._chaos() % len(unread)]
            return Turn((member,), ((member, turn.drafts[0][1]),))
        return turn

    def draws(self, open, proposer, scores) -> bool:
        """By the law and by the tokens that are open, which it may look at: the next one is not drawn yet."""
        super().draws(open, proposer, scores)
        tokens, trust = [int(proposal.token) for proposal in open], self._trust
        return not self._reads or (self._chaos() + sum(tokens) + (trust[-1] if isinstance(trust, tuple) else 0)) % 3 > 0

    def goes_on(self, open, proposer) -> bool:
        tokens = [int(proposal.token) for proposal in open]
        return (self._chaos() + sum(tokens)) % 3 > 0

    def copies(self, open, run: int) -> int:
        super().copies(open, run)
        return self._chaos() % 4 if self._request.verification != "block" else 0


def erratic(count: int) -> Schedule:
    """`auto` with its decisions, early stops and look-ups made by chance, as far as the law goes; anew in each round."""
    schedules = [
        *(standard(), cos(*[1] * count), cos(*[2] * count), speculative(2), speculative(3)),
        risky(1),
        risky(0),
    ]
    plans = [Plan(schedule, 1.0, start) for schedule in schedules for start in (None, 0, count - 1)]
    plans += [Plan(relay(2), 1.0, count - 1)]
    return Made(lambda request: Erratic(request, plans))


@pytest.fixture
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decides in every round."""
    monkeypatch.setattr(policy, "PATIENCE", 1)


@pytest.mark.usefixtures("_restless")
@named("combination", PAIRS)
@named("rule", [TOKEN, BLOCK])
def test_the_law_whatever_is_chosen(combination: Combination, rule):
    """Every decision taken by looking at all that happened: the law of four tokens over two letters."""
    schedule = erratic(2)
    for proposer in (0, 1):
        options = {"verification": rule, "proposer": proposer}
        assert largest_error(members(2, 2), combination, schedule, 4, **options) < 1e-12


@pytest.mark.usefixtures("_restless")
@named("combination", [weighted([0.5, 0.3, 0.2]), drawn([0.5, 0.3, 0.2]), product([1, 2, 3]), only(2)])
@named("rule", [TOKEN, BLOCK, COUPLED])
def test_the_law_with_three_members(combination: Combination, rule):
    """As above, with one more member."""
    schedule = erratic(3)
    assert largest_error(members(3, 2), combination, schedule, 3, verification=rule) < 1e-12


@pytest.mark.usefixtures("_restless")
@named("combination", PAIRS[:3])
@named("rule", [TOKEN, BLOCK, COUPLED])
def test_the_law_with_a_draft_model(combination: Combination, rule):
    """The third member is not in the combination."""
    schedule = erratic(3)
    options = {"verification": rule, "proposer": 2, "drafters": 1}
    assert largest_error(members(3, 2), combination, schedule, 3, **options) < 1e-12


@pytest.mark.usefixtures("_restless")
@named("warp", [Warp(0.7, top_k=2), Warp(0.6, top_p=0.8), Warp(0)])
def test_the_law_of_warped_members(warp: Warp):
    """Three letters, also with some that are impossible."""
    schedule = erratic(2)
    assert largest_error(members(2, 3), weighted([0.7, 0.3]), schedule, 3, warp=warp) < 1e-12
    assert largest_error(members(2, 4, sparse=True), weighted([0.7, 0.3]), schedule, 2, warp=warp) < 1e-12


@pytest.mark.usefixtures("_restless")
@named("combination", PAIRS)
def test_coupled_text_is_that_of_standard(combination: Combination):
    """Token for token at several temperatures, whatever is chosen, and by `auto` itself with the times of today."""
    pair = [HistoryMember.random(5, 1), HistoryMember.random(5, 2, like=HistoryMember.random(5, 1))]
    for seed, warp in enumerate([Warp(), Warp(0.5), Warp(0.7, top_k=2), Warp(0), Warp(1.7)]):
        texts = [
            decode(pair, combination, schedule, KeyedNoise(seed), 40, warp, verification=COUPLED)
            for schedule in (standard(), erratic(2), Auto([1, 1]))
        ]
        assert texts[0] == texts[1] == texts[2]


def test_what_is_erratic_takes_every_turn():
    """What the tests above rely on: plans change within a text, drafts are cut short, and tokens are looked up."""
    pair = [HistoryMember.random(3, 1), HistoryMember.random(3, 2, like=HistoryMember.random(3, 1))]
    plans: dict[str, int] = {}
    looked_up = 0
    for seed in range(4):
        run = observed(pair, erratic(2), KeyedNoise(seed), 60, weighted([0.7, 0.3]))
        stats = run.row.stats
        looked_up += stats.proposers[0].accepted
        for name, count in stats.plans.items():
            plans[name] = plans.get(name, 0) + count
    assert len(plans) >= 4
    assert looked_up > 5


def dropped(patch: pytest.MonkeyPatch) -> None:
    """A drafted token that its own law finds unlikely is dropped instead of kept, and the draft ends in front of it."""
    correct = Row.extend

    def extend(self: Row, draft) -> None:
        correct(self, draft)
        if self.frontier.open > 1 and float(draft.laws[0][draft.tokens[0]]) < 0.5:
            self.frontier.proposals.pop()

    patch.setattr(Row, "extend", extend)


def test_a_token_that_is_dropped_is_caught(monkeypatch: pytest.MonkeyPatch):
    """As llama.cpp's p-min would do it: harmless for one-hot drafts, a bias for drawn ones."""
    assert largest_error(members(2, 2), only(1), speculative(3), 3) < 1e-12
    dropped(monkeypatch)
    assert largest_error(members(2, 2), only(1), speculative(3), 3) > 1e-3


def setting(rates, costs, needed=(0, 1), odds=(), wide=0.03, turn=0.02, draft=0.01, rows=1) -> Setting:
    forwards = [[0.0, *(cost * (1 + wide * (width - 1)) for width in range(1, 17))] for cost in costs]
    start = min(range(len(costs)), key=lambda member: costs[member])
    return Setting(tuple(needed), start, forwards, turn, draft, rates, odds, rows)


def test_rows_that_draw_members_take_turns():
    """One row waits for nobody but who is drawn; of eight, a forward serves two thirds, or all of them if all propose."""
    even = (0.5, 0.5)
    assert best(setting([0.6, 0.6], [1, 1], odds=even)).schedule.name == "risky:0"
    assert best(setting([0.6, 0.6], [1, 1], odds=even, rows=8)).schedule.name == "cos:1,1"
    assert setting([0, 0], [1, 1], odds=even, rows=8).share() == pytest.approx(2 / 3)


def test_the_plan_fits_the_members():
    """Equal members take turns, a small one drafts; nobody does where proposals fall or wide forwards are dear."""
    assert best(setting([0.8, 0.8], [1, 1])).schedule.name == "cos:1,1"
    assert best(setting([0.8, 0.8], [1, 0.1])).schedule.name in ("cos:1,4", "cos:1,6")
    longer = best(setting([0.8, 0.95], [1, 0.05])).schedule.name
    assert int(longer.rpartition(",")[2]) >= 6
    assert best(setting([0.97, 0.2], [1, 0.5])).schedule.name == "cos:4,1"
    assert best(setting([0.01, 0.01], [1, 1])).schedule.name == "standard"
    assert best(setting([0.7, 0.7], [1, 1], wide=1.0)).schedule.name == "standard"
    assert best(setting([0.7, 0.7, 0.7], [1, 1, 1], (0, 1, 2))).schedule.name == "cos:1,1,1"


def test_the_plan_of_one_voice():
    """One member is the law: another one drafts if that pays, else it goes alone."""
    assert best(setting([1.0, 0.8], [1, 0.1], [0])).schedule.name.startswith("speculative:")
    assert best(setting([1.0, 0.8], [1, 0.9], [0])).schedule.name == "standard"
    assert best(setting([1.0], [1], [0])).schedule.name == "standard"


def test_the_plan_with_a_draft_model():
    """It drafts ahead of every member of an even pair, if it is good enough."""
    assert best(setting([0.95, 0.95, 0.95], [1, 1, 0.05])).schedule.name == "relay:8"
    assert best(setting([0.8, 0.8, 0.8], [1, 1, 0.05])).schedule.name == "speculative:8"
    assert best(setting([0.8, 0.8, 0.1], [1, 1, 0.5])).schedule.name.startswith("cos:1,1,")


def test_the_plan_of_drawn_members():
    """Equal ones run where they are drawn; a small one drafts ahead where it agrees."""
    even = (0.5, 0.5)
    assert best(setting([0.8, 0.8], [1, 1], odds=even)).schedule.name == "risky:0"
    plan = best(setting([0.8, 0.8], [1, 0.1], odds=even))
    assert plan.start == 1
    assert int(plan.schedule.name[-1]) >= 1
    assert best(setting([0.1, 0.1], [1, 0.3], odds=even)).schedule.name == "risky:0"
    assert best(setting([0.8, 0.8], [1, 0.1], [0], odds=(1.0, 0.0))).schedule.name != "risky:0"


class Flat(HistoryMember):
    """The same law after any text."""

    def __init__(self, law: list[float]) -> None:
        super().__init__(torch.tensor([law] * 1009, dtype=torch.float64))


def measured(plan: Plan, chances: Setting, combination: Combination, count: int, drafters: int = 0) -> float:
    """Seconds per token of real runs, by the setting's times."""
    laws = [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]][:count]
    pair, seconds, tokens = [Flat(law) for law in laws], 0.0, 0
    schedule = Schedule(plan.schedule.name, plan.turn)
    for seed in range(6):
        run = observed(pair, schedule, KeyedNoise(seed), 250, combination, proposer=chances.start, drafters=drafters)
        tokens += len(run.tokens)
        seconds += chances.turn * len(run.turns)
    for index, member in enumerate(pair):
        seconds += sum(chances.forwards[index][read] for read, _ in member.calls)
    return seconds / tokens


FORMS = {
    "cos:1,1": (cos(1, 1), weighted([1, 1]), (0, 1), 0.85, lambda chances: alternating(chances, 1, (1, 1))),
    "cos:1,3": (cos(1, 3), weighted([1, 1]), (0, 1), 0.85, lambda chances: alternating(chances, 1, (1, 3))),
    "cos:2,1": (cos(2, 1), weighted([1, 1]), (0, 1), 0.85, lambda chances: alternating(chances, 1, (2, 1))),
    "speculative:3": (speculative(3), only(0), (0,), 0.7, lambda chances: drafted(chances, 1, 3)),
    "risky:2": (risky(2), drawn([1, 1]), (0, 1), 0.7, lambda chances: drawing(chances, 1, 0.5, 2)),
    "relay:2": (relay(2), weighted([1, 1]), (0, 1), 0.9, lambda chances: relayed(chances, 2, 2)),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_closed_forms_are_what_happens(name: str):
    """Members that agree alike everywhere: predicted and counted time differ by little."""
    schedule, combination, needed, helper, predicted = FORMS[name]
    drafters = int(name.startswith("relay"))
    rates, costs = ([0.85, 0.85, helper], [1, 1, 0.2]) if drafters else ([0.85, helper], [1, 0.2])
    chances = setting(rates, costs, needed, (0.5, 0.5) if name.startswith("risky") else (), draft=0.0)
    found = measured(Plan(schedule, 0), chances, combination, len(costs), drafters)
    assert found == pytest.approx(predicted(chances), rel=0.06)


def test_medians_of_what_was_measured():
    """The last measurements of a kind; between them, the nearest one scaled; nothing gets cheaper by being wider."""
    costs = Costs([10, 10_000_000])
    assert costs.forward(1, 1, 3)[1] > costs.forward(0, 1, 3)[1] > 0
    for seconds in (90.0, 1.0, 1.1, 50.0):  # the first one is not counted
        costs.add([0], 1, 1, seconds)
    assert costs.forward(0, 1, 1)[1] == 1.1
    assert 1.1 < costs.forward(0, 1, 3)[3] < 1.3
    costs.add([0], 1, 3, 90.0)
    assert 1.1 < costs.forward(0, 1, 3)[3] < 1.3
    costs.add([0], 1, 3, 1.0)
    assert costs.forward(0, 1, 3)[3] == 1.1
    assert costs.forward(1, 1, 1)[1] > 1.1  # the larger one has not run: as large as the other was slow
    for _ in range(KEPT):
        costs.add([0], 1, 1, 3.0)
    assert costs.forward(0, 1, 1)[1] == 3.0
    costs.add([0], 1, 1000, 1e-9)  # a prompt
    assert costs.forward(0, 1, 2)[2] >= 3.0
    assert (costs.turn(), costs.draft) == (0.0, 0.0)
    for _ in range(KEPT):
        costs.add_step(0.5, 0)
        costs.add_step(0.9, 4)
    assert [costs.turn(), costs.draft] == pytest.approx([0.5, 0.1])


@given(st.lists(st.floats(0, 1), max_size=80))
def test_a_rate_leans_on_the_one_before(numbers: list[float]):
    """It stays in [0, 1], starts where the other one is, follows what comes, and goes back when nothing does."""
    shared = Rate(0.7, 500)
    own = Rate(shared)
    assert own.value == 0.7
    for number in numbers:
        own.add(number)
        assert 0 <= own.value <= 1
    if numbers and min(numbers) > 0.8:
        assert own.value > shared.value > 0.7
    for _ in range(20_000):
        own.fade()
    assert own.value == pytest.approx(0.7, abs=0.01)


def auto_of(costs: list[float], wide: float, rows: int = 1) -> Auto:
    """Forwards of `width` tokens have taken each member its cost, and `wide` of it more per token."""
    auto = Auto([1] * len(costs))
    for member, seconds in enumerate(costs):
        for width in range(1, 17):
            for _ in range(2):  # the first one is not counted
                auto.observe(Forward((member,), rows, width, rows * width, seconds * (1 + wide * width), 0.0))
    return auto


def test_it_decides_again_as_the_text_changes():
    """Members that stop to agree stop to propose, and take it up again."""
    steered, seen = AutoPolicy(requested(weighted([1, 1])), auto_of([1.0, 1.0], 0.3).batch), []
    view = View(0, (0, 0), (0, 1), 0)
    for agreement in (0.9, 0.0, 0.9):
        for place in range(150):
            steered.turn(view)
            for member in (0, 1):
                steered.confidence.agreed(member, place, agreement, agreement)
        seen.append(steered.following)
    assert seen == ["cos:1,1", "standard", "cos:1,1"]


def test_auto_of_a_request():
    """With the schedule `auto`, it is used; without it, one is chosen by sizes."""
    auto = Auto([1, 1])
    assert chosen([1, 1], "product", "auto", "auto", auto=auto).schedule is auto
    assert chosen([1, 1], "product", "auto", "auto").schedule.name == "cos:1,1"
    assert chosen([1, 1], "product", "cos:1,1", "auto", auto=auto).schedule.name == "cos:1,1"


class Peeking(Policy):
    """Proposes again where the discarded second token was a 1, else lets the target draw."""

    hears = (Proposed,)

    def __init__(self) -> None:
        self.second: int | None = None

    def turn(self, view: View) -> Turn:
        if view.open == 0 and (self.second is None or self.second == 1):
            return Turn((0,), ((0, 2 if self.second is None else 1),))
        return Turn((1,))

    def observe(self, event: Proposed) -> None:
        if self.second is None and event.position == 1:
            self.second = int(event.token)


@pytest.mark.statistical
def test_looking_at_a_discarded_token_needs_the_round(monkeypatch: pytest.MonkeyPatch):
    """By position alone its number would come again (false alarm 1e-9, detects a total variation of 0.1)."""
    after = [[0, 0.5, 0.5]] * 2
    pair = [TableMember(torch.tensor([first, *after])) for first in ([0, 0.5, 0.5], [0, 0.9, 0.1])]
    law = {tokens: mass for tokens, mass in brute_force(pair, only(1), 2).items() if mass > 0}
    schedule = Made(lambda request: Peeking())

    def check() -> None:
        assert_law([decode(pair, only(1), schedule, KeyedNoise(seed), 2) for seed in range(5_000)], law, detects=0.1)

    check()
    reused_names(monkeypatch)
    proposals_by_position_alone(monkeypatch)
    with pytest.raises(AssertionError, match="L1 distance"):
        check()


def test_twins_run_together():
    """Twins that a position needs count as one forward, a little wider; alone they have nothing to propose to each other."""
    costs = Costs([10, 10, 1], [(0, 1)])
    for _ in range(2):
        costs.add((0, 1), 3, 1, 1.5)
        costs.add((1,), 1, 1, 1.0)
    assert costs.forward(0, 6, 1)[1] == costs.forward(1, 6, 1)[1] == 1.5
    assert costs.forward(0, 1, 1)[1] == 1.0
    alone = setting([0.9, 0.9], [1, 1])
    joint = replace(alone, twins={(0, 1): [0.0, *(1.1 + 0.03 * width for width in range(16))]})
    assert best(alone).schedule.name == "cos:1,1"
    assert best(joint).schedule.name == "standard"
    assert joint.standard() == pytest.approx(1.1 + joint.turn)
    third = replace(setting([0.9, 0.9, 0.9], [1, 1, 1], (0, 1, 2)), start=1, twins=joint.twins)
    assert third.scorers == (1, 2)
    assert best(third).seconds < best(replace(third, twins={})).seconds


def test_auto_knows_which_twins_a_request_needs():
    """Not where one of them is drawn for each position."""
    auto = Auto([1, 1, 1], [(0, 1)])
    both, one = requested(weighted([1, 1, 1]), 3), requested(drawn([1, 1, 1]), 3)
    plans: list[Setting] = []

    def choose(setting: Setting) -> Plan:
        plans.append(setting)
        return Plan(standard(), 1.0)

    for request in (both, one, requested(only(1), 3)):
        AutoPolicy(request, auto.batch, choose).turn(View(0, (0, 0, 0), (0,), 0))
    assert [list(setting.twins) for setting in plans] == [[(0, 1)], [], []]


def test_auto_hears_the_engine():
    """Times of forwards and steps, and how many rows run."""
    auto = Auto([1])
    for _ in range(KEPT + 1):
        auto.observe(StepBegan(3))
        auto.observe(Forward((0,), 3, 1, 3, 0.5, 0.0))
        auto.observe(StepEnded(0.25, 0))
    batch = auto.batch
    assert (batch.rows, batch.costs.turn(3), batch.costs.forward(0, 3, 1)[1]) == (3, 0.25, 0.5)
    assert set(auto.hears) == {StepBegan, Forward, StepEnded}
