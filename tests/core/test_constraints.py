"""Constraints and proposers of two tokens, by enumeration: the law of the text under every schedule and verification."""

import functools
import itertools
from collections.abc import Callable

import pytest

from tests.core.helpers import HistoryMember, summed
from tests.core.test_auto import erratic
from tests.toys.brackets import Brackets, balanced
from tests.toys.last_two import LastTwo
from tests.toys.pairs import Pairs
from unisono.auto import policy
from unisono.combine import Combination, drawn, weighted
from unisono.decoding import Schedule, Turn, View, cos, lookup, parallel, relay, risky, speculative, standard
from unisono.decoding.engine import Engine
from unisono.decoding.row import Row
from unisono.decoding.schedules import LOOKUP
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.members.lineup import Lineup
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise, Noise
from unisono.sampling.warp import Warp
from unisono.testing import EnumeratingNoise, Tokens, brute_force, contexts, largest_error
from unisono.types import Commit

named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
RULES = list(VERIFICATIONS.values())
TOKEN, BLOCK, COUPLED = (VERIFICATIONS[name] for name in ("token", "block", "coupled"))
WARPS = [Warp(), Warp(0.7, top_k=2), Warp(0)]
MIXTURE = weighted([0.7, 0.3])


def paired(length: int = 1) -> Schedule:
    """Members draft, pairs follow, and behind some of these the text proposes."""

    def turn(view: View) -> Turn:
        member = view.least_scored()
        return Turn((member,), ((member, 1 + view.open % 2), (Pairs.name, length), (LOOKUP, 1)))

    return Schedule(f"paired:{length}", turn)


SCHEDULES = [
    *(standard(), parallel(), cos(2, 1), cos(1, 1), speculative(2), relay(2), lookup(1), risky(1)),
    Schedule("erratic", lambda view: Turn((view.least_scored(),))),
]
SOME = ("standard", "cos:2,1", "erratic")  # schedules of fast tests
PAIRED = [paired(1), paired(2), lookup(2, Pairs.name)]
LAWS: list[Combination] = [MIXTURE, drawn([0.6, 0.4]), LastTwo()]
BEGUN = {
    "plain": Brackets(3, 4),
    "unforced": Brackets(3, 4, forces=False),
    "start": Brackets(3, 4, first=(0, 2)),
    "middle": Brackets(4, 3, runs={3: (2,)}),
}


@pytest.fixture(autouse=True)
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The erratic policy decides in every round."""
    monkeypatch.setattr(policy, "PATIENCE", 1)


def label(value: object) -> str | None:
    """Return how a parameter is shown."""
    return getattr(value, "name", None)


@functools.cache
def members(vocabulary: int) -> list[HistoryMember]:
    return [HistoryMember.random(vocabulary, seed) for seed in (1, 2)]


def planned(schedule: Schedule) -> Schedule:
    return erratic(2) if schedule.name == "erratic" else schedule


def bracket_error(
    kind: str, combination: Combination, schedule: Schedule, warp: Warp | None = None, **options
) -> float:
    vocabulary, length = BEGUN[kind].mask().numel(), BEGUN[kind].left
    options = {"constraint": BEGUN[kind], "warp": warp or Warp(), **options}
    return largest_error(members(vocabulary), combination, planned(schedule), length, **options)


def paced(*values: object, fast: Callable[..., bool]) -> list[object]:
    """Return all combinations of values as parameters; those that are not fast are slow tests."""
    marks = ((), pytest.mark.long)
    return [pytest.param(*each, marks=marks[not fast(*each)]) for each in itertools.product(*values)]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("kind", "schedule", "rule"),
    paced(
        BEGUN,
        SCHEDULES,
        RULES,
        fast=lambda kind, schedule, rule: (
            rule is TOKEN if kind == "middle" else schedule.name in SOME and rule is not COUPLED
        ),
    ),
    ids=label,
)
def test_brackets_balance_under_the_law(kind: str, schedule: Schedule, rule: Verification):
    assert bracket_error(kind, MIXTURE, schedule, verification=rule) < 1e-12


@pytest.mark.parametrize(
    ("combination", "schedule"),
    paced(LAWS[1:], SCHEDULES, fast=lambda combination, schedule: schedule.name in SOME),
    ids=label,
)
def test_brackets_under_laws_that_draw_or_read(combination: Combination, schedule: Schedule):
    assert bracket_error("start", combination, schedule) < 1e-12
    assert bracket_error("middle", combination, schedule) < 1e-12


@named("schedule", SCHEDULES)
@pytest.mark.parametrize("warp", WARPS[1:], ids=["top_k", "greedy"])
def test_brackets_with_warps_and_edits(warp: Warp, schedule: Schedule):
    edits = Edits(repetition=1.3, presence=0.2)
    assert bracket_error("middle", MIXTURE, schedule, warp, edits=edits) < 1e-12


@pytest.mark.long
@named("schedule", SCHEDULES)
@named("rule", RULES)
@pytest.mark.parametrize("warp", WARPS, ids=["plain", "top_k", "greedy"])
def test_more_brackets_with_warps_and_edits(warp: Warp, schedule: Schedule, rule: Verification):
    for kind, combination, edits in itertools.product(BEGUN, LAWS, (Edits(), Edits(repetition=1.3, presence=0.2))):
        assert bracket_error(kind, combination, schedule, warp, edits=edits, verification=rule) < 1e-12


@pytest.mark.parametrize(
    ("combination", "schedule", "rule"),
    paced(LAWS, PAIRED, RULES, fast=lambda law, schedule, rule: law is MIXTURE and rule is not COUPLED),
    ids=label,
)
def test_pairs_keep_the_law(combination: Combination, schedule: Schedule, rule: Verification):
    options = {"proposers": (Pairs.random(2),), "verification": rule}
    assert largest_error(members(2), combination, schedule, 3, **options) < 1e-12


@named("schedule", PAIRED[:1])
def test_pairs_keep_the_law_of_two_tokens_under_coupled(schedule: Schedule):
    options = {"proposers": (Pairs.random(2),), "verification": COUPLED}
    assert largest_error(members(2), MIXTURE, schedule, 2, **options) < 1e-12


@pytest.mark.parametrize(
    ("schedule", "rule", "warp"),
    paced(
        PAIRED, RULES, WARPS, fast=lambda schedule, rule, warp: warp.greedy or (rule, schedule) == (TOKEN, PAIRED[0])
    ),
    ids=label,
)
def test_pairs_with_warps_and_brackets(schedule: Schedule, rule: Verification, warp: Warp):
    """A pair's token may be forbidden, or lie where another one is forced."""
    options = {"proposers": (Pairs.random(3),), "verification": rule, "warp": warp}
    error = largest_error(members(3), MIXTURE, schedule, 3, constraint=Brackets(3, 3), **options)
    assert error < 1e-12
    if warp.greedy:
        assert largest_error(members(3), MIXTURE, schedule, 3, **options) < 1e-12


def beside(noise: Noise, schedule: Schedule, combination: Combination, siblings: bool) -> Tokens:
    """Run two rows of one task in a batch; return the text of the first one, and check that of the second one."""
    lineup = Lineup(tuple(members(3)), proposers=(Pairs.random(3),))
    task = Task(contexts(members(3)), Warp(), 3, constraint=Brackets(3, 3, first=(2,)))
    method = Method(combination, planned(schedule), TOKEN, 0)
    commits: tuple[list[Commit], list[Commit]] = [], []
    rows = [
        Row(lineup, method, task, each, own.extend) for each, own in zip((noise, KeyedNoise(5)), commits, strict=True)
    ]
    for row in rows if siblings else ():
        row.siblings = rows
    engine = Engine(lineup)
    engine.submit(*rows)
    for row in rows:
        engine.run(row)
    assert balanced([commit.token for commit in commits[1]])
    return tuple(commit.token for commit in commits[0])


@pytest.mark.parametrize("siblings", [False, True], ids=["batch", "n=2"])
@named("schedule", [standard(), cos(2, 1), PAIRED[0], SCHEDULES[-1]])
@named("combination", [MIXTURE, LastTwo()])
def test_brackets_in_a_batch(schedule: Schedule, combination: Combination, siblings: bool):
    """Beside another row, and beside a second sample of the same prompt, whose constraint is a copy."""
    found = summed(EnumeratingNoise(lambda noise: beside(noise, schedule, combination, siblings)))
    wanted = brute_force(members(3), combination, 3, constraint=Brackets(3, 3, first=(2,)))
    assert max(abs(found.get(text, 0.0) - mass) for text, mass in wanted.items()) < 1e-12
