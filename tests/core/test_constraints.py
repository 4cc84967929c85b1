"""Constraints and proposers of two tokens, by enumeration: the law of the text under every schedule and verification."""

import functools

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember
from tests.core.test_auto import erratic
from tests.toys.brackets import Brackets
from tests.toys.pairs import Pairs
from unisono.auto import policy
from unisono.combine import Combination, Positions, drawn, weighted
from unisono.decoding import Schedule, Turn, View, cos, lookup, parallel, relay, risky, speculative, standard
from unisono.decoding.schedules import LOOKUP
from unisono.decoding.verification import VERIFICATIONS
from unisono.sampling.logits_edits import Edits
from unisono.sampling.warp import AnyWarp, Warp
from unisono.testing import largest_error

named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
RULES = list(VERIFICATIONS.values())
WARPS = [Warp(), Warp(0.7, top_k=2), Warp(0)]
MIXTURE = weighted([0.7, 0.3])


class ByLast(Combination):
    """A mixture whose weights depend on the last token."""

    name = "by-last"
    reads = frozenset({"tokens"})

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        first, second = (each.law for each in positions.scores)
        shares = torch.tensor([[0.8 if text and text[-1] % 2 else 0.3] for text in positions.tokens], dtype=first.dtype)
        return shares * first + (1 - shares) * second


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
PAIRED = [paired(1), paired(2), lookup(2, Pairs.name)]
LAWS: list[Combination] = [MIXTURE, drawn([0.6, 0.4]), ByLast()]
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


@named("schedule", SCHEDULES)
@named("rule", RULES)
@pytest.mark.parametrize("kind", BEGUN)
def test_brackets_balance_under_the_law(kind: str, schedule: Schedule, rule):
    assert bracket_error(kind, MIXTURE, schedule, verification=rule) < 1e-12


@named("schedule", SCHEDULES)
@named("combination", LAWS[1:])
def test_brackets_under_laws_that_draw_or_read(combination: Combination, schedule: Schedule):
    assert bracket_error("start", combination, schedule) < 1e-12
    assert bracket_error("middle", combination, schedule) < 1e-12


@named("schedule", SCHEDULES)
@pytest.mark.parametrize("warp", WARPS[1:], ids=["top_k", "greedy"])
def test_brackets_with_warps_and_edits(warp: Warp, schedule: Schedule):
    edits = Edits(repetition=1.3, presence=0.2)
    for kind in ("plain", "middle"):
        assert bracket_error(kind, MIXTURE, schedule, warp) < 1e-12
        assert bracket_error(kind, MIXTURE, schedule, warp, edits=edits) < 1e-12


@named("schedule", PAIRED)
@named("rule", RULES)
@named("combination", LAWS)
def test_pairs_keep_the_law(combination: Combination, schedule: Schedule, rule):
    options = {"proposers": (Pairs.random(2),), "verification": rule}
    assert largest_error(members(2), combination, schedule, 3, **options) < 1e-12
