"""Drafting by confidence: what is learnt of sure and unsure proposals, what is worth proposing, and what it saves."""

from dataclasses import replace

import pytest
import torch

from tests.core.helpers import HistoryMember, observed
from unisono.auto import policy as pilot
from unisono.auto.acceptance import AGREEMENT, GREEDY, LEVELS, SURE, Confidence, Rates, expected, level
from unisono.auto.draft_length import LOOKED_UP, Worth
from unisono.auto.measurements import Experience
from unisono.auto.planner import Plan, Setting
from unisono.auto.policy import FAR, STRETCH, Kind, Pilot
from unisono.combine import as_combination, cascade, proxy, weighted
from unisono.combine.base import Combination
from unisono.decoding import Schedule, Turn, View, cos, speculative, standard
from unisono.decoding.frontier import Frontier, Proposal
from unisono.decoding.row import Row
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


def frontier(*trusts: object, member: int = 0) -> Frontier:
    row = Frontier(2)
    for trust in trusts:
        row.propose(Proposal(0, torch.ones(1), member, trust))
    return row


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
        known.decided([CERTAIN, UNSURE, ("draft", 1, 2)], 1)
    assert known.stands(CERTAIN, 0.0) > 0.99
    assert known.stands(UNSURE, 0.0) < 0.05
    assert known.stands(("draft", 1, 2), 0.0) == before
    assert known.behind([CERTAIN], 0.0) < 0.1  # an unsure one came behind it, and fell
    other = known.behind([("draft", 1, 2)], 0.0)
    known.decided([("draft", 1, 2), UNSURE], 2)
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
    assert not judge.stops(frontier(CERTAIN), 0, 0)
    assert judge.stops(frontier(UNSURE), 0, 0)
    assert judge.stops(frontier(*[("draft", 0, 3)] * 3), 0, 0)
    assert worth(confidence(), price=1.0).stops(frontier(CERTAIN), 0, 0)  # two members as good: taking turns is as fast
    assert not worth(confidence(), costs=(0.1, 1.0)).stops(frontier(UNSURE), 0, 0)  # nearly for nothing


def test_an_unsure_proposal_is_not_worth_a_dear_place():
    """It costs no forward of its own, but makes another one wider."""
    cheap, dear = worth(confidence()), worth(confidence(), wide=0.6)
    assert cheap.starts(frontier(), 0, UNSURE)
    assert not dear.starts(frontier(), 0, UNSURE)
    assert dear.starts(frontier(), 0, CERTAIN)
    assert not dear.starts(frontier(*[("draft", 1, 1)] * 3), 0, CERTAIN)


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
    assert 0 < worth(known, wide=0.01).copies(frontier(), 3) <= LOOKED_UP
    for place in range(50):
        known.decided([("lookup", 3)], 0)
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
    experience = Experience([1] * len(costs))
    for member, seconds in enumerate(costs):
        for width in range(1, 17):
            for _ in range(2):  # the first one is not counted
                experience.costs.add(member, 1, width, seconds * (1 + 0.01 * width))
    experience.costs.add_step(0.01, 0)
    kind = Kind("kind", combination.needed(len(costs)), (), 0, False, False, True, combination.opener())
    fixed = cos(*[1] * len(costs)) if schedule == "cos" else standard()
    plan = Schedule("auto", fixed.turn, steer=lambda: Pilot(kind, experience)) if schedule == "auto" else fixed
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
    """A long draft of one row holds up those beside it: they stay within the plan, and two tokens beyond."""
    experience = Experience([1, 1])
    kind = Kind("kind", (0, 1), (), 0, False, False, True)
    view = View(0, (0, 0), (0, 1), 0)
    plans = {length: Plan(cos(length, length), 1.0) for length in (1, 3)}
    assert Pilot(kind, experience, lambda setting: plans[1]).turn(view).propose == FAR
    assert Pilot(kind, experience, lambda setting: Plan(standard(), 1.0)).turn(view).propose == 0
    experience.rows = 4
    assert Pilot(kind, experience, lambda setting: plans[1]).turn(view).propose == 1
    other = replace(kind, key="other")
    assert Pilot(other, experience, lambda setting: plans[3]).turn(view).propose == 3 + STRETCH


def test_rows_side_by_side_share_a_decision():
    """Those of a kind that decide in the same step; a row alone always decides for itself."""
    experience, made = Experience([1]), iter(range(100))

    def decided(kind: str) -> int:
        return experience.shared(kind, lambda: next(made))

    experience.begin(3)
    assert [decided(kind) for kind in ("one", "one", "other", "one", "other")] == [0, 0, 1, 0, 1]
    experience.begin(3)
    assert [decided(kind) for kind in ("other", "one")] == [2, 3]
    experience.begin(1)
    assert [decided("one") for _ in range(3)] == [4, 5, 6]


class Steady(Pilot):
    """The pilot itself, with times that do not change; plans follow one another by what it has learnt."""

    def __init__(self, kind: Kind, costs: list[float], wide: float) -> None:
        experience = Experience([1] * len(costs))
        for member, seconds in enumerate(costs):
            for width in range(1, 17):
                for _ in range(2):
                    experience.costs.add(member, 1, width, seconds * (1 + wide * width))
        count = len(costs)
        schedules = [cos(*[1] * count), speculative(2), cos(*range(1, count + 1)), standard()]
        plans = [Plan(schedule, 1.2, start) for schedule in schedules for start in (None, 0, 1)]
        super().__init__(
            kind, experience, lambda setting: plans[(self._rounds + int(1e6 * sum(setting.rates))) % len(plans)]
        )

    def curious(self, cheap: bool = True) -> bool:
        return True


def steady(name: str, costs: list[float], wide: float, rule: str, warp: Warp) -> Schedule:
    combination = as_combination(name, len(costs))
    coupled = rule == "coupled" and not warp.greedy
    odds, leads = combination.odds(warp), combination.opener()
    kind = Kind("kind", combination.needed(len(costs)), odds, 0, coupled, rule != "block", warp.greedy, leads)
    return Schedule("auto", standard().turn, steer=lambda: Steady(kind, costs, wide))


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
def test_the_law_of_the_pilot_itself(name: str, rule: str, monkeypatch: pytest.MonkeyPatch):
    """It begins, declines, goes on and stops by laws, times and all it has learnt: the law of three tokens over two letters."""
    monkeypatch.setattr(pilot, "PATIENCE", 1)
    pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
    for costs, wide in TIMES:
        for warp in (Warp(), Warp(0)):
            schedule = steady(name, costs, wide, rule, warp)
            assert largest_error(pair, name, schedule, 3, warp=warp, verification=VERIFICATIONS[rule]) < 1e-12


@pytest.mark.parametrize("name", ["weighted:0.5,0.3,0.2", "proxy:0.5", "cosd:0.6,0.2"])
@pytest.mark.parametrize("rule", ["token", "block", "coupled"])
def test_the_law_of_the_pilot_with_three_members(name: str, rule: str, monkeypatch: pytest.MonkeyPatch):
    """Two small members and a large one: the small ones go first, and draft together."""
    monkeypatch.setattr(pilot, "PATIENCE", 1)
    three = [HistoryMember.random(2, seed) for seed in (1, 2, 3)]
    for costs in ([1.0, 0.1, 0.1], [0.1, 1.0, 0.1]):
        schedule = steady(name, costs, 0.05, rule, Warp())
        assert largest_error(three, name, schedule, 2, verification=VERIFICATIONS[rule]) < 1e-12


def test_declining_what_was_drawn_is_caught(monkeypatch: pytest.MonkeyPatch):
    """A proposal is declined before it is drawn; looking at the token first would bias the text."""
    pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
    schedule = steady("weighted:0.7,0.3", [1.0, 1.0], 0.02, "token", Warp())
    assert largest_error(pair, "weighted:0.7,0.3", schedule, 3) < 1e-12
    correct = Row.propose

    def propose(self: Row, member: int, token, law) -> bool:
        ended = correct(self, member, token, law)
        if self.frontier.scored(1 - member) <= self.frontier.open - 1 and float(law[token]) < 0.5:
            self.frontier.proposals.pop()
            return True
        return ended

    monkeypatch.setattr(Row, "propose", propose)
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


def test_a_member_with_nothing_to_read_proposes():
    """Else the turn would do nothing at all, and so would the next one."""
    kind = Kind("kind", (0, 1), (), 0, False, False, True)
    steered = Pilot(kind, Experience([1, 1]), lambda setting: Plan(cos(1, 1), 1e-9))
    steered.turn(View(0, (0, 0), (0, 1), 0))
    assert not steered.starts(frontier(), 0, UNSURE)
    steered.turn(View(0, (1, 1), (0, 1), 0))
    assert steered.starts(frontier(), 0, UNSURE)


class Refusing(Steady):
    """Lets the first member score what it has scored, and propose nothing."""

    def turn(self, view: View) -> Turn:
        super().turn(view)
        return Turn((0,), 1)

    def starts(self, *asked: object) -> bool:
        return False


def test_a_row_without_progress_ends():
    """A refused proposal is none: an error instead of a loop without end."""
    pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
    kind = Kind("kind", (0, 1), (), 0, False, False, True)
    schedule = Schedule("auto", standard().turn, steer=lambda: Refusing(kind, [1.0, 1.0], 0.1))
    with pytest.raises(ConfigurationError, match="makes no progress"):
        observed(pair, schedule, KeyedNoise(0), 4)


def test_a_draft_on_a_device_is_not_looked_up(monkeypatch: pytest.MonkeyPatch):
    """Whether to go on is asked after each token, and looking one up would wait for it."""
    pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
    run = observed(pair, steady("weighted", [1.0, 1.0], 0.1, "token", Warp(0)), KeyedNoise(0), 4, warp=Warp(0))
    guide, looked = run.row.guide, []

    def find(most: int) -> tuple[list[int], int]:
        looked.append(most)
        return [], 0

    monkeypatch.setattr(guide, "find", find)
    for token in (1, torch.tensor(1)):
        run.row.frontier.proposals = [Proposal(token, torch.ones(2), 0)]
        guide.stops(0)
    assert len(looked) == 1
