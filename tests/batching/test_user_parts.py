"""Listeners, policies, proposers and laws of a user: in which thread they run, and that their failures end one row only."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from tests.toys.listener import Recorder
from unisono import SamplingParams
from unisono.combine import Combination, Positions, as_combination
from unisono.combine.gates import Nudge
from unisono.decoding import Schedule, cos, lookup, parallel, standard
from unisono.decoding.engine import Engine
from unisono.decoding.events import Accepted, Drawn, Ended, Proposed, Replaced, RolledBack
from unisono.decoding.policy import Turn, View
from unisono.decoding.proposals import Draft
from unisono.decoding.row import Row
from unisono.decoding.seat import Seat
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.errors import ConfigurationError, RequestError
from unisono.loading import with_proposers
from unisono.members.lineup import Lineup
from unisono.request import Scoring, samples
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import AnyWarp, Warp
from unisono.testing import contexts, largest_error, unequal_members
from unisono.text.prompts import Prepared
from unisono.types import Result

TOKENS = 12
LINEUP = Lineup(tuple(unequal_members(2, 5)))


def make_row(
    schedule: Schedule | None = None, combination: object = None, lineup: Lineup = LINEUP, seed: int = 3, **task: Any
) -> Row:
    method = Method(as_combination(combination, 2), schedule or standard(), VERIFICATIONS["token"], 0)
    own = Task(contexts(lineup.members), Warp(), TOKENS, **task)
    return Row(lineup, method, own, KeyedNoise(seed))


def run(*rows: Row) -> None:
    """Decode the rows together, as far as they get."""
    engine = Engine(rows[0].lineup)
    engine.submit(*rows)
    while not all(row.finished for row in rows):
        engine.step()


def test_events_come_in_the_thread_that_decodes():
    """Also those of members that run side by side."""

    class Threads(Recorder):
        def observe(self, event: Any) -> None:
            self.events.append(threading.current_thread())

    row, listener = make_row(parallel()), Threads()
    engine = Engine(row.lineup)
    engine.listen(listener)
    row.listen(listener)
    engine.submit(row)
    engine.run(row)
    assert set(listener.events) == {threading.current_thread()}


def test_a_row_that_is_cancelled_while_it_settles_goes_no_further():
    row = make_row()
    engine = Engine(row.lineup)

    class Cancelling:
        hears = (Drawn,)

        def observe(self, event: Drawn) -> None:
            engine.cancel(row)

    ends = Recorder(Ended)
    row.listen(Cancelling())
    row.listen(ends)
    engine.submit(row)
    while not row.frontier.committed:
        engine.step()
    assert row.finished
    assert not row.slots
    assert not ends.events


class Late:
    """A processor that changes at the last token, which the row finds at its end."""

    def __init__(self) -> None:
        self.late = False

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        self.late |= ids.shape[-1] == TOKENS
        return logits + self.late


def test_a_row_that_fails_at_its_end_does_not_tell_that_it_has_ended():
    row, ends = make_row(edits=Edits(processors=(Late(),))), Recorder(Ended)
    row.listen(ends)
    run(row)
    assert isinstance(row.error, RequestError)
    assert len(row.frontier.committed) == TOKENS
    assert not ends.events


def test_proposals_behind_an_accepted_end_are_told_as_rolled_back():
    """Those whose target is not known yet, too: a text may end at any token, as at a stop string."""
    lineup = Lineup(tuple(unequal_members(3, 5)))
    method = Method(as_combination(None, 3), cos(2, 3, 1), VERIFICATIONS["token"], 0)
    told, open_ones = 0, 0
    for seed in range(20):
        recorder = Recorder(Proposed, Accepted, Replaced, RolledBack)
        row = Row(
            lineup, method, Task(contexts(lineup.members), Warp(), 30), KeyedNoise(seed),
            lambda commits: len(commits) if commits[-1].origin == "accepted" else None,
        )  # fmt: skip
        row.listen(recorder)
        run(row)
        told += sum(event.count for event in recorder.of(RolledBack))
        open_ones += len(recorder.of(Proposed)) - sum(len(e.tokens) for e in recorder.of(Accepted))
        open_ones -= len(recorder.of(Replaced))
    assert told == open_ones > 0


def failing(method: str) -> Schedule:
    """Return a schedule that drafts with a member and looks up; its method of this name raises."""

    def fails(self: object, *given: object) -> object:
        raise ArithmeticError(method)

    def turn(self: object, view: View) -> Turn:
        return Turn((view.least_scored(),), ((view.least_scored(), 2), ("lookup", 2)))

    name = f"failing-{method}"
    own = property(fails) if method == "following" else fails
    made: Schedule = type(name, (Schedule,), {"turn": turn, method: own})(name)
    return made


@pytest.mark.parametrize("method", ["draws", "goes_on", "copies", "measures", "following"])
def test_a_policy_that_raises_ends_its_row_only(method: str):
    lineup = Lineup(tuple(unequal_members(2, 2)))
    bad, good, alone = (make_row(failing(each), lineup=lineup) for each in (method, "", ""))
    run(bad, good)
    run(alone)
    assert re.fullmatch(rf"schedule \S+ failed: .*{method}", str(bad.error))
    assert good.error is None
    assert good.frontier.committed == alone.frontier.committed


class Proposing:
    """A proposer that gives the same draft again and again."""

    name = "given"

    def __init__(self, draft: Any) -> None:
        self.draft = draft

    def propose(self, seats: Sequence[Seat]) -> list[Any]:
        return [self.draft for _ in seats]


@pytest.mark.parametrize("draft", [Draft([7], [None], 0), Draft([1], [None], "other"), [1]])
def test_a_draft_of_somebody_else_is_refused(draft: Any):
    """A draft that names a member as its proposer is checked like any other of a user."""
    lineup = Lineup(tuple(unequal_members(2, 5)), proposers=(Proposing(draft),))
    bad, good = make_row(lookup(1, "given"), lineup=lineup), make_row(lineup=lineup)
    run(bad, good)
    assert isinstance(bad.error, ConfigurationError)
    assert "proposer given gave a draft that cannot be taken: it must be a Draft whose proposer is 'given'" in str(
        bad.error
    )
    assert good.error is None


@dataclass(frozen=True)
class Odds(Combination):
    """Draws members by odds that raise behind the token 0."""

    reads: ClassVar[frozenset[str]] = frozenset({"tokens"})
    drawn_by: ClassVar[tuple[int, ...]] = (0,)

    @property
    def name(self) -> str:
        return "odds"

    def odds(self, positions: Positions) -> Tensor:
        if any(0 in text for text in positions.tokens):
            raise ArithmeticError("odds")
        return torch.full((len(positions.tokens), 2), 0.5)


@pytest.mark.parametrize("schedule", [standard(), parallel(), cos(2, 1)], ids=lambda schedule: schedule.name)
def test_odds_that_raise_end_their_row_only(schedule: Schedule):
    bad, good = make_row(schedule, Odds()), make_row(schedule)
    run(bad, good)
    assert str(bad.error) == "odds"
    assert good.error is None


@dataclass(frozen=True)
class OneNeeded(Combination):
    """The law of the first member, by the likelihood of both."""

    reads: ClassVar[frozenset[str]] = frozenset({"loglikelihood"})

    @property
    def name(self) -> str:
        return "one-needed"

    def needed(self, members: int) -> tuple[int, ...]:
        return (0,)

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        first, second = ([float(each.sum()) for each in member] for member in positions.loglikelihood)
        hotter = torch.tensor([[1.0 + (a > b)] for a, b in zip(first, second, strict=True)])
        return warp(positions.scores[0].logits * hotter)


@pytest.mark.parametrize("schedule", ["standard", "cos:2,1", "lookup:2"])
def test_a_law_that_reads_likelihoods_needs_every_member(schedule: str):
    """Whatever it says itself of the members that it needs."""
    assert largest_error(unequal_members(2), OneNeeded(), schedule, 3) < 1e-12


@dataclass(frozen=True)
class Early(Nudge):
    """Nudging, with a look at what is known early that raises behind the given tokens."""

    reads: ClassVar[frozenset[str]] = frozenset({"tokens"})
    feared: tuple[int, ...] = (-1,)

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        if any(tuple(text[:3]) == self.feared for text in positions.tokens):
            raise ArithmeticError("early")
        return super().fixed(positions, warp)


def test_a_look_at_what_is_known_early_that_raises_ends_its_row_only():
    plain = [make_row(cos(2, 1), Early(0.5), seed=seed) for seed in (3, 4)]
    run(*plain)
    first, second = (row.frontier.committed for row in plain)
    assert first[:3] != second[:3]
    bad, good = (make_row(cos(2, 1), Early(0.5, feared=tuple(first[:3])), seed=seed) for seed in (3, 4))
    run(bad, good)
    assert str(bad.error) == "early"
    assert good.error is None
    assert good.frontier.committed == second


@dataclass(frozen=True)
class ByPrompt(Combination):
    """Reads how probable each member finds the prompt."""

    reads: ClassVar[frozenset[str]] = frozenset({"prompt_loglikelihood"})

    @property
    def name(self) -> str:
        return "by-prompt"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        first, second = (torch.stack([each.sum() for each in own]) for own in positions.prompt_loglikelihood)
        one, other = positions.scores
        return torch.where((first > second).unsqueeze(-1), one.law, other.law)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_sample_does_not_need_the_other_samples_for_the_scores_of_its_prompt(cancelled: bool):
    """Whether the first one is cancelled before it runs, or never submitted."""
    method = Method(ByPrompt(), standard(), VERIFICATIONS["token"], 0)
    task = Task(contexts(LINEUP.members, [[0, 1, 2]] * 2), Warp(), TOKENS)
    first, second = samples(LINEUP, method, task, SamplingParams(n=2, seed=1, max_tokens=TOKENS), None)
    engine = Engine(LINEUP)
    if cancelled:
        engine.submit(*first.rows, *second.rows)
        for row in first.rows:
            engine.cancel(row)
    else:
        engine.submit(second.row)
    for _ in range(8 * TOKENS):
        engine.step()
    assert second.row.error is None
    assert second.row.finished
    assert isinstance(second.outcome(), Result)
    for row in second.rows:
        engine.cancel(row)
    assert not any(row.slots for row in (*second.row.before, second.row))


def test_the_scoring_of_a_prompt_ends_with_the_last_sample_that_needs_it():
    method = Method(ByPrompt(), standard(), VERIFICATIONS["token"], 0)
    task = Task(contexts(LINEUP.members, [[0, 1, 2]] * 2), Warp(), TOKENS)
    requests = samples(LINEUP, method, task, SamplingParams(n=2, seed=1, max_tokens=TOKENS), None)
    engine = Engine(LINEUP)
    engine.submit(*(request.row for request in requests))
    engine.step()
    for request in requests:
        engine.cancel(request.row)
    assert all(row.finished and not row.slots for row in requests[0].row.before)


def test_likelihoods_are_not_made_anew_from_lists_at_every_position(monkeypatch: pytest.MonkeyPatch):
    """What is turned into a tensor is as long as what was committed in a round, however long the text is."""
    sizes, tensor = [], torch.tensor

    def counted(values: Any, *given: Any, **options: Any) -> Tensor:
        made = tensor(values, *given, **options)
        if made.dtype == torch.float64 and made.dim() == 1:
            sizes.append(len(made))
        return made

    row = make_row(combination=OneNeeded())
    monkeypatch.setattr(torch, "tensor", counted)
    run(row)
    assert [len(each) for each in row.laws.loglikelihood] == [TOKENS] * 2
    assert max(sizes) < TOKENS / 2


@pytest.mark.parametrize("name", ["lookup", "forced", "given"])
def test_a_proposer_needs_a_name_of_its_own(name: str):
    """`forced` is what a constraint proposes: whatever it names would be taken as the only possible token."""
    proposer = Proposing(Draft([1], [None], name))
    proposer.name = name
    lineup = with_proposers(LINEUP, [proposer]) if name == "given" else LINEUP
    with pytest.raises(ConfigurationError, match=f"two proposers have the same name: {name}"):
        with_proposers(lineup, [proposer])


def test_a_scoring_that_was_cancelled_gives_no_scores():
    """They would be taken for those of the last tokens."""
    scoring = Scoring(LINEUP, as_combination(None, 2), Prepared(contexts(LINEUP.members), (1, 2, 3), Warp()))
    Engine(LINEUP).cancel(scoring.row)
    with pytest.raises(RequestError, match="cancelled before its end"):
        scoring.score()
