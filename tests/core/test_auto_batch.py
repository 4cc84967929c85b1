"""`auto` with several rows, on a clock that counts modelled seconds in place of measured ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.core.helpers import requested
from tests.core.test_auto import Flat, auto_of, setting
from unisono import combine
from unisono.auto.batch import LOOK, OFTEN
from unisono.auto.costs import DRAFT, KEPT, Costs
from unisono.auto.formulas import _cycle, lockstep, powers
from unisono.auto.planner import Plan, best
from unisono.auto.policy import Auto, AutoPolicy
from unisono.combine import Combination
from unisono.decoding import Schedule, View, cos, standard
from unisono.decoding.engine import Engine
from unisono.decoding.events import Forward, StepBegan, StepEnded
from unisono.decoding.row import Row
from unisono.decoding.schedules import LOOKUP
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts

PAIR = ([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])
Price = Callable[[int, int, int], float]  # (member, rows, width) -> seconds
OUTSIDE = 0.05  # seconds of a step outside of forwards


def cheap(member: int, rows: int, width: int) -> float:
    """The seconds of a forward that memory limits: wide ones cost little more."""
    return 1 + 0.01 * rows * width


def dear(member: int, rows: int, width: int) -> float:
    """The seconds of a forward that arithmetic limits: they grow with the tokens."""
    return 0.2 + 0.1 * rows * width


def unequal(member: int, rows: int, width: int) -> float:
    """A large member and a small one."""
    return (1.0, 0.05)[member] * (1 + 0.005 * rows * width)


class Clock:
    """Replaces the seconds of engine events, adds them up, and counts the rows of the forwards."""

    hears = (Forward, StepEnded)

    def __init__(self, price: Price) -> None:
        self._price = price
        self.seconds = 0.0
        self.forwards: list[tuple[int, int, int]] = []  # member, rows and width

    def priced(self, event: Any) -> Any:
        if isinstance(event, Forward):
            return replace(event, seconds=self._price(event.members[0], event.rows, event.widest))
        return replace(event, outside=OUTSIDE) if isinstance(event, StepEnded) else event

    def observe(self, event: Any) -> None:
        if isinstance(event, Forward):
            self.forwards.append((event.members[0], event.rows, event.widest))
            self.seconds += self.priced(event).seconds
        else:
            self.seconds += OUTSIDE


class Timed(Auto):
    """`auto` that learns from the seconds of a clock."""

    def __init__(self, clock: Clock, members: int) -> None:
        super().__init__([1] * members)
        self._clock = clock

    def observe(self, event: Any) -> None:
        super().observe(self._clock.priced(event))


def run(
    price: Price,
    rows: int,
    schedule: Schedule | None,
    combination: Combination,
    laws: Any = PAIR,
    tokens: int = 64,
    warp: Warp | None = None,
    peers: bool = True,
) -> Clock:
    """Decode `rows` rows side by side with `schedule`, or with `auto`."""
    clock, members = Clock(price), [Flat(law) for law in laws]
    lineup = Lineup(tuple(members), 0)
    schedule = schedule or Timed(clock, len(members))
    method = Method(combination, schedule, VERIFICATIONS["token"], 0, tuple(range(len(laws))) if peers else ())
    engine = Engine(lineup)
    engine.listen(clock)
    task = Task(contexts(members, None), warp or Warp(), tokens)
    batch = [Row(lineup, method, task, KeyedNoise(seed)) for seed in range(rows)]
    engine.submit(*batch)
    for row in batch:
        engine.run(row)
    return clock


@pytest.mark.parametrize("combination", [combine.weighted([1, 1]), combine.drawn([1, 1])], ids=lambda each: each.name)
@pytest.mark.parametrize("rows", [4, 16])
def test_a_batch_speculates_where_wide_forwards_are_cheap(combination: Combination, rows: int):
    """Nearly all forwards serve nearly all rows, and `auto` is faster than every fixed choice could be by chance."""
    plain, auto = (run(cheap, rows, schedule, combination) for schedule in (standard(), None))
    assert plain.seconds / auto.seconds > 1.3
    served = [running for _, running, _ in auto.forwards[: len(auto.forwards) // 2]]
    assert sum(served) / len(served) > 0.95 * rows


@pytest.mark.parametrize("combination", [combine.weighted([1, 1]), combine.drawn([1, 1])], ids=lambda each: each.name)
def test_a_batch_runs_standard_where_wide_forwards_are_dear(combination: Combination):
    """What `auto` tries costs little. Members that are drawn run at every position too, for all rows together."""
    plain, auto = (run(dear, 16, schedule, combination, tokens=96) for schedule in (standard(), None))
    assert plain.seconds / auto.seconds > 0.97
    shapes = auto.forwards[len(auto.forwards) // 4 : len(auto.forwards) // 2]
    assert {(running, width) for _, running, width in shapes} == {(16, 1)}


def test_a_small_member_drafts_for_the_whole_batch():
    """Each draft serves all rows: also rows whose last token was committed in the same step."""
    for combination in (combine.weighted([1, 1]), combine.drawn([1, 1])):
        plain, auto = (
            run(unequal, 8, schedule, combination, ([0.5, 0.3, 0.2], [0.4, 0.4, 0.2]))
            for schedule in (standard(), None)
        )
        assert plain.seconds / auto.seconds > 1.6
        served = [running for _, running, _ in auto.forwards[len(auto.forwards) // 4 : len(auto.forwards) // 2]]
        assert sum(served) / len(served) > 7.5


def test_standard_until_the_price_is_known():
    """The first forward of a shape prepares kernels and has no price, so each member runs twice before a plan is made."""
    auto = run(cheap, 4, None, combine.weighted([1, 1]), tokens=8)
    assert auto.forwards[:4] == [(0, 4, 1), (1, 4, 1)] * 2
    assert any(width > 1 for _, _, width in auto.forwards[4:])


@pytest.mark.parametrize("lengths", [(1, 1), (2, 1), (1, 3), (1, 1, 1)], ids=str)
def test_the_form_of_rows_in_step_is_what_happens(lengths: tuple[int, ...]):
    """Equal members: predicted and counted seconds per token and row differ by little."""
    laws, rows = (*PAIR, [0.3, 0.4, 0.3])[: len(lengths)], 8
    combination = combine.drawn([1] * len(lengths))  # without confidence, so that the plan's lengths are the drafts'
    tables = torch.tensor(laws)
    rates = torch.minimum(tables[:, None], tables[None]).sum(-1).mean(-1).tolist()
    forwards = [[0.0, *(cheap(0, rows, width) for width in range(1, 17))]] * len(laws)
    chances = replace(setting(rates, [1] * len(laws), tuple(range(len(laws))), rows=rows), forwards=forwards)
    chances = replace(chances, turn=OUTSIDE, draft=0.0)
    plan = Plan(cos(*lengths), 0.0)

    class Fixed(Timed):
        """`auto` with one plan."""

        def policy(self, request):
            return AutoPolicy(request, self.batch, lambda setting: plan)

    clock = Clock(cheap)
    found = run(cheap, rows, Fixed(clock, len(laws)), combination, laws, tokens=400)
    assert found.seconds / 400 == pytest.approx(lockstep(chances, lengths), rel=0.06)


def test_tokens_of_a_cycle():
    """Proposals that always stand are all committed; of those that never do, every second turn commits one token."""
    assert _cycle([1, 1], [2, 3]) == pytest.approx(5)
    assert _cycle([1, 1, 1], [1, 1, 1]) == pytest.approx(3)
    assert _cycle([0, 0], [1, 1]) == pytest.approx(1)
    assert _cycle([0.7, 0.7], [1, 1]) == pytest.approx(2 / (2 - 0.7))
    assert powers(0.5, 3) == 1.75


def test_the_plan_of_a_batch():
    """By the price of its width: turns for equal members, a draft of a small one, else every position by all members."""
    even = (0.5, 0.5)
    for odds in ((), even):
        assert best(setting([0.8, 0.8], [1, 1], odds=odds, rows=8)).schedule.name == "cos:1,1"
        assert best(setting([0.8, 0.8], [1, 1], odds=odds, rows=8, wide=1.0)).schedule.name == "standard"
        assert best(setting([0.8, 0.8], [1, 0.05], odds=odds, rows=8)).schedule.name.startswith("cos:1,")
        assert best(setting([0.8, 0.8], [1, 0.05], odds=odds, rows=8)).schedule.name != "cos:1,1"
    assert best(setting([0.1, 0.1], [1, 1], rows=8, wide=0.2)).schedule.name == "standard"


def test_turns_of_a_batch():
    """Every row turns to the member after the one that ran last, also a row that has just had a rejection."""
    auto = auto_of([1.0, 1.0], 0.1, rows=4)
    auto.observe(StepBegan(4))
    rows = [
        AutoPolicy(requested(combine.weighted([1, 1])), auto.batch, lambda setting: Plan(cos(1, 1), 1.0))
        for _ in range(4)
    ]
    for last, following in ((0, 1), (1, 0)):
        auto.observe(Forward((last,), 4, 1, 4, 1.0, 0.0))
        assert {row.turn(View(0, (0, 0), (0, 1), 0)).members for row in rows} == {(following,)}


def test_a_batch_looks_up_tokens_together():
    """Every few steps all rows look; in between only if enough of them found something in the last look-up."""
    auto = auto_of([1.0, 1.0], 0.0, rows=4)
    request = requested(combine.weighted([1, 1]))
    rows = [AutoPolicy(request, auto.batch, lambda setting: Plan(standard(), 1.0)) for _ in range(4)]

    def looking() -> bool:
        auto.observe(StepBegan(4))
        drafts = [row.turn(View(0, (0, 0), (0, 1), 0)).drafts for row in rows]
        assert len({bool(each) for each in drafts}) == 1
        return drafts[0][:1] == ((LOOKUP, drafts[0][0][1]),) if drafts[0] else False

    steps = [looking() for _ in range(2 * LOOK)]
    assert sum(steps) == 2
    while not looking():
        pass
    for row in rows[: round(8 * OFTEN)]:
        row.copies([], 3)
    assert looking()


def joined(seed: int, laws: Any, sizes: list[int], combination: Combination, drafters: int = 0) -> bool:
    """Let a second row join while the first row has an open end token. Return whether it came to this."""
    members = [Flat(law) for law in laws]
    lineup, auto = Lineup(tuple(members), drafters), Auto(sizes)
    proposer = min(range(len(sizes)), key=lambda member: sizes[member])
    method = Method(combination, auto, VERIFICATIONS["token"], proposer)
    engine = Engine(lineup)
    engine.listen(auto)
    task = Task(contexts(members, None), Warp(), 200, frozenset({0}))
    first, second = (Row(lineup, method, task, KeyedNoise(each)) for each in (seed, seed + 1000))
    engine.submit(first)
    while not first.finished and not (first.frontier.open and first.frontier.closed):
        engine.step()
    if seed % 2 and not first.finished:
        engine.step()
    if first.finished:
        return False
    engine.submit(second)
    for row in (first, second):
        engine.run(row)
    return True


def test_a_row_may_join_while_an_end_token_is_open():
    """Behind a proposed end token no position is open, so its proposer has nothing to do and must not be chosen."""
    rare = [0.06, 0.47, 0.47]
    assert sum(joined(seed, [rare] * 2, [10**8, 10**5], combine.only(0), drafters=1) for seed in range(20)) > 10
    assert (
        sum(joined(seed, [rare] * 3, [10**8, 5 * 10**6, 10**8], combine.weighted([1, 1, 1])) for seed in range(40)) > 10
    )


@pytest.mark.parametrize("warp", [Warp(), Warp(0)], ids=["T=1", "T=0"])
def test_a_member_that_is_not_needed_does_not_run_in_a_batch(warp: Warp):
    """A cascade whose base is sure: only the base runs, also if the rows of the batch take turns otherwise."""
    auto = run(
        cheap, 4, None, combine.cascade("chow", 0.1), ([0.97, 0.02, 0.01], [0.5, 0.3, 0.2]), warp=warp, peers=False
    )
    assert {member for member, _, _ in auto.forwards} == {0}


def test_a_batch_of_two_kinds_drafts_as_one_of_one_kind():
    """The mean of a kind's own rows decides about its drafts."""
    clock, members = Clock(unequal), [Flat([0.5, 0.3, 0.2]), Flat([0.4, 0.4, 0.2])]
    lineup, auto = Lineup(tuple(members), 0), Timed(clock, 2)
    method = Method(combine.weighted([1, 1]), auto, VERIFICATIONS["token"], 1)
    engine = Engine(lineup)
    engine.listen(clock)
    rows = [
        Row(lineup, method, Task(contexts(members, None), Warp(1 + 0.1 * (seed % 2)), 64), KeyedNoise(seed))
        for seed in range(8)
    ]
    engine.submit(*rows)
    for row in rows:
        engine.run(row)
    assert (
        clock.seconds
        < 1.3 * run(unequal, 8, None, combine.weighted([1, 1]), ([0.5, 0.3, 0.2], [0.4, 0.4, 0.2])).seconds
    )


def test_a_batch_changes_its_lengths_only_if_this_clearly_pays():
    """A draft that is a few percent faster is not worth forwards of a new size; rows keep lengths that are nearly best."""
    close, far = (setting([rate, rate], [1, 0.3], rows=8) for rate in (0.75, 0.9))
    assert 1.03 < lockstep(close, [1, 1]) / lockstep(close, [1, 2]) < 1.1
    assert best(close).schedule.name == "cos:1,1"
    assert lockstep(far, [1, 1]) / lockstep(far, [1, 3]) > 1.1
    fastest = best(far).schedule.name
    assert fastest not in ("cos:1,1", "cos:1,3")
    assert best(replace(far, current="cos:1,3")).schedule.name == "cos:1,3"
    assert best(replace(far, current="cos:1,1")).schedule.name == fastest


def test_a_draft_is_never_free():
    """Its time outside of forwards is at least a share of a turn's, also before it is measured."""
    costs = Costs([1, 1])
    costs.add_step(1.0, 0, rows=4)
    assert costs.draft == pytest.approx(DRAFT) == 0.2
    costs.add_step(1.0, 2, rows=4)
    assert costs.draft == pytest.approx(DRAFT)
    for _ in range(KEPT):
        costs.add_step(3.0, 2, rows=4)
    assert costs.draft == pytest.approx(1.0)


def test_twins_have_one_turn():
    """The turn behind twins that ran together is the next member's, whichever of them the order names."""
    auto = Auto([1, 1, 1], [(1, 2)])
    for order in ((0, 1), (0, 2)):
        auto.observe(Forward((1, 2), 4, 1, 8, 1.0, 0.0))
        assert auto.batch.next(order, 7) == 0
        auto.observe(Forward((0,), 4, 1, 4, 1.0, 0.0))
        assert auto.batch.next(order, 7) == order[1]
