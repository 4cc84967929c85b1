"""`drawn`: one member per position decides, and the text has the law of the mixture; who runs, and when."""

import functools

import pytest
import torch

from tests.core.helpers import HistoryMember, observed, schedules
from tests.laws import law_of
from unisono.auto.static import drafting_ahead
from unisono.combine import drawn, weighted
from unisono.decoding import Schedule, Turn, View, cos, parallel, risky, speculative, standard, verification
from unisono.decoding.required import Needs
from unisono.decoding.verification import VERIFICATIONS
from unisono.errors import ConfigurationError
from unisono.methods import as_schedule
from unisono.sampling import sampler
from unisono.sampling.noise import KeyedNoise, Purpose
from unisono.sampling.warp import Warp
from unisono.testing import EnumeratingNoise, brute_force, decode, exact_law, largest_error

named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
RULES = list(VERIFICATIONS.values())


@functools.cache
def members(count: int, vocabulary: int, sparse: bool = False) -> list[HistoryMember]:
    build = HistoryMember.sparse if sparse else HistoryMember.random
    return [build(vocabulary, seed) for seed in range(1, count + 1)]


@named("rule", RULES)
@named("schedule", schedules(2))
@pytest.mark.parametrize("proposer", [0, 1])
def test_the_law_of_the_mixture(rule, schedule: Schedule, proposer: int):
    """Whoever proposes, by whatever schedule and verification: the definition's law, which is `weighted`'s too."""
    pair, options = members(2, 2), {"verification": rule, "proposer": proposer}
    assert largest_error(pair, drawn([0.7, 0.3]), schedule, 3, **options) < 1e-12
    wanted = brute_force(pair, weighted([0.7, 0.3]), 3)
    assert brute_force(pair, drawn([7, 3]), 3) == pytest.approx(wanted, abs=1e-15)


@named("rule", RULES)
@named("schedule", [standard(), cos(2, 1), risky(0), risky(1)])
@named("warp", [Warp(0.7, top_k=2), Warp(0.6, top_p=0.8), Warp(0)])
def test_warped_laws(rule, schedule: Schedule, warp: Warp):
    """Each member is warped, then drawn; at temperature 0 the mixture's favourite is committed, as by `weighted`."""
    assert largest_error(members(2, 3), drawn([0.4, 0.6]), schedule, 2, warp=warp, verification=rule) < 1e-12


@named("rule", RULES)
@named("schedule", [cos(2, 1, 1), risky(0), risky(1)])
def test_three_members(rule, schedule: Schedule):
    """Blocks that two others have to check, one after the other."""
    assert largest_error(members(3, 2), drawn([0.5, 0.3, 0.2]), schedule, 3, verification=rule) < 1e-12
    assert largest_error(members(3, 4, sparse=True), drawn([0, 0.3, 0.2]), schedule, 2, verification=rule) < 1e-12


@named("schedule", schedules(2))
def test_coupled_text_is_that_of_standard(schedule: Schedule):
    """The member of a position is part of the noise that defines the text."""
    pair = [HistoryMember.random(7, 1), HistoryMember.random(7, 2)]
    for seed in range(6):
        standard_text = decode(pair, drawn([0.4, 0.6]), standard(), KeyedNoise(seed), 24)
        text = decode(pair, drawn([0.4, 0.6]), schedule, KeyedNoise(seed), 24, verification=VERIFICATIONS["coupled"])
        assert text == standard_text


def test_greedy_is_the_mixtures_favourite():
    """Not a random member's, which is what drawing would give."""
    sure, unsure = (HistoryMember(torch.tensor([law] * 1009)) for law in ([0.1, 0.9], [0.6, 0.4]))
    for schedule in (standard(), risky(1), cos(1, 1)):
        assert exact_law([sure, unsure], drawn([0.5, 0.5]), schedule, 2, warp=Warp(0)) == {(1, 1): 1.0}


def test_one_forward_per_token():
    """Only the member drawn for a position runs there; the others read what they missed in one forward, later."""
    pair = [HistoryMember.random(5, 1), HistoryMember.random(5, 2)]
    run = observed(pair, risky(0), KeyedNoise(3), 40, drawn([0.5, 0.5]))
    forwards = [member.forwards for member in run.row.stats.members]
    assert sum(forwards) == 40
    assert all(10 < count < 30 for count in forwards)
    assert [len(member.calls) for member in pair] == forwards
    assert all(keep == 1 for member in pair for _, keep in member.calls)


def test_standard_and_log_probabilities_run_every_member():
    """The reference is never lazy, and log-probabilities are those of the mixture."""
    pair = [HistoryMember.random(5, 1), HistoryMember.random(5, 2)]
    run = observed(pair, standard(), KeyedNoise(3), 12, drawn([0.5, 0.5]))
    assert [member.forwards for member in run.row.stats.members] == [12, 12]
    for warp, processed in ((Warp(0.5), False), (Warp(0.5, top_k=3), True)):
        run = observed(pair, risky(1), KeyedNoise(3), 12, drawn([0.25, 0.75]), warp, logprobs=2, processed=processed)
        law = warp if processed else Warp()
        for position, commit in enumerate(run.commits):
            prefix = (0, *run.tokens[:position])
            logits = [member.law(prefix).log() for member in pair]
            wanted = law_of(weighted([1, 3]), logits, law)[commit.token].log()
            assert commit.logprob == pytest.approx(float(wanted), abs=1e-9)
            assert len(commit.top) == 2


def view(drawn_members: tuple[int, ...], open: int = 0, needed: tuple[int, ...] = (0,)) -> View:
    return View(open, (0, 0), needed, 1, drawn=drawn_members)


def test_blocks_end_just_before_a_risky_position():
    """The draft of member 1 holds as many positions of member 0 as are allowed, and all of its own around them."""
    turn = risky(1).turn(view((0, 1, 1, 0, 1, 0)))
    assert turn == Turn((1,), ((1, 3),))
    assert risky(2).turn(view((0, 1, 1, 0, 1, 0))).drafts == ((1, 5),)
    assert risky(3).turn(view((0, 1, 1, 0, 1, 0))).drafts == ((1, 6),)
    assert risky(0).turn(view((0, 1, 1))).members == (0,)
    assert risky(1).turn(view((1, 0), needed=(1,))) == Turn((1,))
    assert risky(2).turn(view((0, 1, 0), open=2)).members == (0,)
    assert risky(2).turn(view((), needed=(0, 1))).drafts == ((1, 2),)  # another combination: all is risky


def test_names():
    """`risky:K` and `drawn:w` as users write them."""
    assert as_schedule("risky:2", [1, 1], [0, 1]).name == "risky:2"
    assert drawn([1, 3]).name == "drawn:0.25,0.75"
    for wrong in ("risky", "risky:-1", "risky:x", "risky:1,2"):
        with pytest.raises(ConfigurationError, match="risky"):
            as_schedule(wrong, [1, 1], [0, 1])
    with pytest.raises(ConfigurationError, match="drawn has 2 weights for 3 members"):
        drawn([1, 1]).check(3)


def test_auto_drafts_where_that_pays():
    """Equal members run where they are drawn; a small one drafts ahead."""
    assert as_schedule("auto", [10, 10], [0, 1], [0.5, 0.5], [0.5, 0.5]).name == "risky:0"
    assert as_schedule("auto", [10, 10, 10], [0, 1, 2], [1, 1, 1], [1 / 3] * 3).name == "risky:0"
    assert int(drafting_ahead([100, 10], [0.5, 0.5]).name[-1]) >= 2
    assert drafting_ahead([10], [1.0]).name == "risky:0"


def test_the_member_of_a_position_is_the_same_for_every_round():
    """It defines the text, so it may be looked at; its numbers are those of no other name, and follow the weights."""
    noise, weights = KeyedNoise(5), torch.tensor([0.25, 0.75], dtype=torch.float64)
    first = [noise.draw(weights, Purpose.MEMBER, position, 0) for position in range(2_000)]
    assert first == [noise.draw(weights, Purpose.MEMBER, position, 9) for position in range(2_000)]
    # Hoeffding: off by 0.075 with probability below 1e-9
    assert abs(sum(first) / 2_000 - 0.75) < 0.075
    assert first != [KeyedNoise(6).draw(weights, Purpose.MEMBER, position, 0) for position in range(2_000)]


def redrawn_after_a_rejection(patch: pytest.MonkeyPatch) -> None:
    """The member of a position is drawn again in each round, though proposals were made knowing the first draw."""
    correct = EnumeratingNoise.draw

    def draw(self, law, purpose, position, round):
        if purpose is Purpose.MEMBER:
            self._members.pop(position, None)
        return correct(self, law, purpose, position, round)

    patch.setattr(EnumeratingNoise, "draw", draw)
    patch.setattr(Needs, "drawn", lambda self, offset: self._noise.draw(self._odds, Purpose.MEMBER, offset, 0))


def of_the_next_position(patch: pytest.MonkeyPatch) -> None:
    """Each position is decided by the member that is drawn for the one behind it, when the one there is asked."""
    correct = Needs.drawn
    calls = iter(range(10**9))
    patch.setattr(Needs, "drawn", lambda self, offset: correct(self, offset + next(calls) % 2))


def proposals_stand_unchecked(patch: pytest.MonkeyPatch) -> None:
    """A risky position is taken for one of the proposer's."""
    correct = sampler.leading
    patch.setattr(verification, "leading", lambda chances, names: correct((chances > 0).to(chances.dtype), names))


@pytest.mark.parametrize("mutate", [redrawn_after_a_rejection, of_the_next_position, proposals_stand_unchecked])
def test_mutants(monkeypatch: pytest.MonkeyPatch, mutate):
    """Each gives another law, or asks a member for scores that it has not got."""
    mutate(monkeypatch)
    try:
        error = max(
            largest_error(members(2, 2), drawn([0.5, 0.5]), schedule, 3) for schedule in (risky(2), speculative(2))
        )
    except (AssertionError, IndexError, RuntimeError):
        return
    assert error > 1e-3


def test_parallel_runs_the_drawn_member_only():
    """Members that nobody waits for are not run beside it."""
    pair = [HistoryMember.random(5, 1), HistoryMember.random(5, 2)]
    run = observed(pair, parallel(), KeyedNoise(3), 20, drawn([0.5, 0.5]))
    assert sum(member.forwards for member in run.row.stats.members) == 20
