"""Drafting by confidence: what is learnt of sure and unsure proposals, what is worth proposing, and what it saves."""

from dataclasses import replace

import pytest
import torch

from tests.core.helpers import observed
from unisono.combine import cascade, proxy, weighted
from unisono.combine.base import Combination
from unisono.confidence import AGREEMENT, GREEDY, LEVELS, SURE, Confidence, expected, level
from unisono.experience import Experience, Rates
from unisono.frontier import Frontier, Proposal
from unisono.members.table import TableMember
from unisono.pilot import FAR, STRETCH, Kind, Pilot
from unisono.planning import Plan, Setting
from unisono.rng import KeyedNoise
from unisono.schedules import Schedule, View, cos, standard
from unisono.warp import Warp
from unisono.worth import LOOKED_UP, Worth

TOP = len(LEVELS)
UNSURE, CERTAIN = ("draft", 0, 0), ("draft", 0, TOP)


def confidence(greedy: bool = True) -> Confidence:
    return Confidence(Rates(expected(greedy)))


def worth(known: Confidence, costs=(1.0, 1.0), wide=0.05, price=1.5, leads=False, rates=(0.7, 0.7, 0.7)) -> Worth:
    """Of members that take so long per token, `wide` of it more for each further one."""
    forwards = [[0.0, *(cost * (1 + wide * more) for more in range(16))] for cost in costs]
    setting = Setting(tuple(range(len(costs))), 0, forwards, 0.0, 0.0, rates[: len(costs)])
    return Worth(setting, price, known, leads)


def frontier(*trusts: object, member: int = 0) -> Frontier:
    row = Frontier([[0], [0]])
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
    for _ in range(60):
        known.agreed(0, [(1.0, 1.0)] * 5 + [(0.0, 0.2)] * 5)
    assert known.agreement(0) == pytest.approx(0.5, abs=0.1)
    assert known.next(0) < 0.4  # it ended with five misses
    known.agreed(0, [(1.0, 1.0)])
    assert known.next(0) > 0.6
    assert known.next(1) == AGREEMENT
    for _ in range(20_000):
        known.agreed(0, [])
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
    for _ in range(20):
        known.agreed(0, [(0.0, 0.0)])
        known.agreed(1, [(1.0, 1.0)])
    assert worth(known).first(0) == 1
    assert worth(known, leads=True).first(0) == 1
    known = confidence()
    for _ in range(20):
        known.agreed(0, [(0.6, 0.6)])
        known.agreed(1, [(1.0, 1.0)])
    assert worth(known).first(0) == 1
    assert worth(known, leads=True).first(0) == 0
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
    for _ in range(50):
        known.decided([("lookup", 3)], 0)
        known.agreed(1, [(1.0, 1.0)])
    assert worth(known, wide=0.0).copies(frontier(), 3) == 0
    assert worth(known, wide=0.0).copies(frontier(), 4) > 0


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
    kind = Kind("kind", combination.needed(len(costs)), (), 0, False, False, True, combination.opener() is not None)
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
    """As many as run; then, and for another kind of request or another number of rows, one decides anew."""
    experience, made = Experience([1]), iter(range(100))
    experience.rows = 3
    assert [experience.shared("kind", lambda: next(made)) for _ in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert [experience.shared("other", lambda: next(made)) for _ in range(2)] == [3, 3]
    experience.rows = 1
    assert [experience.shared("other", lambda: next(made)) for _ in range(3)] == [4, 5, 6]
