"""When a constraint is asked, what is forced, and what becomes of drawn tokens that it forbids."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, Made
from tests.core.test_constraints import ByLast, paired
from tests.toys.brackets import CLOSE, OPEN, Brackets, balanced
from tests.toys.listener import Recorder
from tests.toys.pairs import Pairs
from unisono.combine import Combination, Positions, drawn, weighted
from unisono.decoding import Policy, Schedule, Turn, View, cos, lookup, parallel, speculative, standard
from unisono.decoding.engine import Engine
from unisono.decoding.events import Accepted, Drawn, Measured, Proposed, Replaced, RolledBack
from unisono.decoding.policy import MemberLaws
from unisono.decoding.proposals import FORCED, Draft, Name, Proposal
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.sampling.constraint import Constraint
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import AnyWarp, Warp
from unisono.testing import contexts, largest_error, rounds
from unisono.types import Commit

named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
LENGTH = 12
SCHEDULES = [standard(), parallel(), cos(2, 1), speculative(3), lookup(2), paired(2)]


@functools.cache
def members(vocabulary: int = 4) -> list[HistoryMember]:
    return [HistoryMember.random(vocabulary, seed) for seed in (1, 2)]


class Finished:
    """A run of one row to its end, with what it told."""

    def __init__(
        self,
        constraint: Constraint | None,
        schedule: Schedule,
        combination: Combination | None = None,
        seed: int = 1,
        limit: int = LENGTH,
        rule: str = "token",
        proposer: object = None,
        **task: object,
    ) -> None:
        lineup = Lineup(tuple(members()), proposers=(proposer or Pairs.random(4),))
        method = Method(combination or weighted([0.6, 0.4]), schedule, VERIFICATIONS[rule], 0)
        options = Task(contexts(members()), Warp(), limit, constraint=constraint, **task)  # type: ignore[arg-type]
        self.commits: list[Commit] = []
        self.row = Row(lineup, method, options, KeyedNoise(seed), self.commits.extend)
        self.heard = Recorder(Proposed, Measured, Accepted, Replaced, Drawn)
        self.row.listen(self.heard)
        self.rounds = len(list(rounds(self.row)))

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(commit.token for commit in self.commits)

    @property
    def forced(self) -> list[int]:
        return [place for place, commit in enumerate(self.commits) if commit.origin == "forced"]

    @property
    def forwards(self) -> list[int]:
        return [member.forwards for member in self.row.stats.members]


class Noted(Brackets):
    """Brackets that note at which lengths of the text they were asked for a mask; copies share the notes."""

    asked: list[tuple[int, tuple[int, ...]]]

    def __init__(self, *options: object, **named: object) -> None:
        super().__init__(*options, **named)  # type: ignore[arg-type]
        self.asked = []
        self._text: tuple[int, ...] = ()

    def accept(self, token: int) -> bool:
        allowed = super().accept(token)
        self._text = (*self._text, token) if allowed else self._text
        return allowed

    def rollback(self, count: int) -> None:
        super().rollback(count)
        self._text = self._text[: len(self._text) - count]

    def mask(self) -> Tensor:
        self.asked.append((len(self._text), self._text))
        return super().mask()


@named("schedule", SCHEDULES)
def test_the_mask_of_a_position_is_made_once(schedule: Schedule):
    """One question per text in front of a position, however many members and rounds read the mask."""
    constraint = Noted(4, LENGTH, runs={3: (2,)})
    run = Finished(constraint, schedule)
    fresh = [text for _, text in constraint.asked]
    replaced = {event.position for event in run.heard.of(Replaced)}
    again = {len(text) for text in fresh if fresh.count(text) > 1}
    assert balanced(run.tokens)
    assert {length for length, _ in constraint.asked} == set(range(LENGTH))
    assert all(any(place <= length for place in replaced) for length in again)  # only behind a token that was replaced
    if not run.heard.of(Proposed) or not replaced:
        assert len(fresh) == LENGTH


@named("schedule", SCHEDULES)
def test_no_mask_behind_an_end(schedule: Schedule):
    """Token 2 ends the text; nothing is asked of the constraint behind it, proposed or committed."""
    for seed in range(4):
        constraint = Noted(4, LENGTH)
        taken: list[Commit] = []

        def take(commits: Sequence[Commit], taken: list[Commit] = taken) -> int | None:
            taken.extend(commits)
            return next((place + 1 for place, each in enumerate(commits) if each.token == 2), None)

        method = Method(weighted([0.6, 0.4]), schedule, VERIFICATIONS["token"], 0)
        lineup = Lineup(tuple(members()), proposers=(Pairs.random(4),))
        task = Task(contexts(members()), Warp(), LENGTH, frozenset({2}), constraint=constraint)
        list(rounds(Row(lineup, method, task, KeyedNoise(seed), take)))
        assert all(2 not in text for _, text in constraint.asked)


@named("schedule", SCHEDULES)
@named("combination", [weighted([0.6, 0.4]), drawn([0.6, 0.4]), ByLast()])
def test_forced_tokens_have_their_origin_and_count_nowhere(schedule: Schedule, combination: Combination):
    """Also under `standard`: no acceptance and no comparison of members counts them."""

    class Measuring(Schedule):
        def turn(self, view: View) -> Turn:
            return schedule.turn(view)

        def measures(self, positions: int) -> bool:
            return True

    for seed in range(3):
        run = Finished(
            Brackets(4, LENGTH, first=(0, 2), runs={3: (2, 2)}), Measuring(lazy=schedule.lazy), combination, seed
        )
        assert run.forced[:2] == [0, 1]
        follows = [place + offset for place, token in enumerate(run.tokens) if token == 3 for offset in (1, 2)]
        assert set(follows) <= set(run.forced)
        assert all(
            commit.member is None and commit.proposer is None for commit in run.commits if commit.origin == "forced"
        )
        decided = [event.proposer for event in run.heard.of(Replaced)]
        decided += [each for event in run.heard.of(Accepted) for each in event.proposers if each != FORCED]
        assert run.row.stats.verified == len(decided)
        assert FORCED not in decided
        measured = {event.first + place for event in run.heard.of(Measured) for place in range(len(event.overlaps))}
        assert measured.isdisjoint(run.forced)
        told = [event.position for event in run.heard.of(Proposed) if event.proposer == FORCED]
        assert set(run.forced) <= set(told)


class Run(Brackets):
    """Forces everything but the first and one later token."""

    def __init__(self, length: int, free: Sequence[int]) -> None:
        super().__init__(4, length)
        self._free = free

    def forced(self) -> int | None:
        return None if self._length - self.left in self._free else 2

    def mask(self) -> Tensor:
        return torch.ones(4, dtype=torch.bool)  # wider than the one token that is forced

    def accept(self, token: int) -> bool:
        self._states.append(self._states[-1])
        return True


@named("schedule", [standard(), parallel(), cos(2, 1), speculative(3)])
def test_forced_tokens_cost_no_forward(schedule: Schedule):
    """A forced run costs no more than what one forward reads; a forced tail costs none, and ends the row at once."""
    run = Finished(Run(LENGTH, free=(0, 6)), schedule)
    assert run.forced == [place for place in range(LENGTH) if place not in (0, 6)]
    assert max(run.forwards) <= 4
    tail = Finished(Run(LENGTH, free=(0,)), standard())
    assert tail.forwards == [1, 1]
    assert tail.rounds == 2


def test_a_forced_position_needs_no_member_but_for_raw_log_probabilities_and_likelihoods():
    """Processed ones are 0 there, and ask nobody; raw ones are those of the mixture without the constraint."""
    few = Finished(Run(LENGTH, free=(0, 6)), standard(), logprobs=0, processed=True)
    assert max(few.forwards) <= 2
    assert all(few.commits[place].logprob == 0 for place in few.forced)
    raw = Finished(Run(LENGTH, free=(0, 6)), standard(), logprobs=1)
    assert raw.tokens == few.tokens
    for place, commit in enumerate(raw.commits):
        laws = [member.law([0, *raw.tokens[:place]]) for member in members()]
        assert commit.logprob == pytest.approx(math.log(0.6 * laws[0][commit.token] + 0.4 * laws[1][commit.token]))
    assert all(raw.row.frontier.position == LENGTH for _ in raw.forced)


class Likely(Combination):
    """A mixture whose weights are the members' likelihoods of the text."""

    name, reads = "likely", frozenset({"loglikelihood"})

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        logs = torch.stack([torch.stack([each.sum() for each in said]) for said in positions.loglikelihood])
        weights = torch.softmax(logs, 0)
        return sum(weight.unsqueeze(-1) * said.law for weight, said in zip(weights, positions.scores, strict=True))  # type: ignore[return-value]


@named("schedule", SCHEDULES)
def test_likelihoods_count_forced_tokens(schedule: Schedule):
    """All members score forced positions, and the likelihoods are those of the whole text."""
    run = Finished(Brackets(4, LENGTH, first=(0, 2), runs={3: (2,)}), schedule, Likely())
    assert run.forced
    for member, found in zip(members(), run.row.laws.loglikelihood, strict=True):
        wanted = [math.log(member.law([0, *run.tokens[:place]])[token]) for place, token in enumerate(run.tokens)]
        assert found == pytest.approx(wanted, abs=1e-12)


def test_what_is_forced_at_the_start_is_told_when_the_row_runs():
    """Nothing is proposed by the constructor."""
    lineup = Lineup(tuple(members()))
    task = Task(contexts(members()), Warp(), LENGTH, constraint=Brackets(4, LENGTH, first=(0, 2)))
    row = Row(lineup, Method(weighted([0.6, 0.4]), standard(), VERIFICATIONS["token"], 0), task, KeyedNoise(1))
    assert row.frontier.open == 0
    heard = Recorder(Proposed)
    row.listen(heard)
    list(rounds(row))
    assert heard.of(Proposed)[:2] == [Proposed(0, 0, FORCED), Proposed(1, 2, FORCED)]


class Stubborn:
    """Proposes the same token, drawn from a law of its own or looked up."""

    name = "stubborn"

    def __init__(self, token: int, law: Tensor | None) -> None:
        self._token, self._law = token, law

    def propose(self, seats: Sequence[object]) -> list[Draft | None]:
        return [Draft((self._token, 2), (self._law, self._law), self.name) for _ in seats]


@pytest.mark.parametrize("law", [torch.full([4], 0.25, dtype=torch.float64), None], ids=["drawn", "given"])
@named("rule", ["token", "block", "coupled"])
def test_a_forbidden_token_stays_and_is_rejected(law: Tensor | None, rule: str):
    """Nothing is proposed, masked or scored behind it."""
    constraint = Noted(4, LENGTH)
    seen: list[int] = []

    def turn(view: View) -> Turn:
        member = view.least_scored()
        seen.append(view.open)
        return Turn((member,), ((Stubborn.name, 1), (member, 1), ("lookup", 1)))

    run = Finished(constraint, Schedule("stubborn", turn), rule=rule, proposer=Stubborn(CLOSE, law))
    assert balanced(run.tokens)
    forbidden = [
        event.position for event in run.heard.of(Proposed)
        if event.token == CLOSE and event.proposer == Stubborn.name and not _open(run.tokens[: event.position])
    ]  # fmt: skip
    assert 0 in forbidden
    replaced = {event.position: event for event in run.heard.of(Replaced)}
    first = replaced[0]
    assert (first.proposed, first.proposer) == (CLOSE, Stubborn.name)
    assert first.token != CLOSE
    behind = [event for event in run.heard.events[: run.heard.events.index(first)] if isinstance(event, Proposed)]
    assert len(behind) == 1
    assert all(text[:1] != (CLOSE,) for _, text in constraint.asked)
    assert constraint.asked[1][1] == (first.token,)


def _open(tokens: Sequence[int]) -> int:
    return tokens.count(OPEN) - tokens.count(CLOSE)  # type: ignore[attr-defined, no-any-return]


class Letters(Brackets):
    """No brackets at all."""

    def _possible(self, token: int) -> bool:
        return token not in (OPEN, CLOSE)


@pytest.mark.parametrize("law", [torch.full([4], 0.25, dtype=torch.float64), None], ids=["drawn", "given"])
def test_a_forbidden_proposal_is_not_scored_behind(law: Tensor | None):
    """Members score the position of the forbidden token, and none behind it; so each token takes a round of its own."""
    views: list[View] = []

    def turn(view: View) -> Turn:
        views.append(view)
        return Turn((view.least_scored(),), ((Stubborn.name, 1),))

    run = Finished(Letters(4, LENGTH), Schedule("stubborn", turn), proposer=Stubborn(CLOSE, law))
    assert {commit.origin for commit in run.commits} <= {"redrawn", "drawn"}
    assert max(view.open for view in views) == 1
    assert max(max(view.scored) for view in views) == 1


def test_samples_start_from_copies():
    """Two rows of one task beside each other, and the constraint that was passed is as it was."""
    constraint = Brackets(4, LENGTH, first=(0, 2), runs={3: (2,)})
    lineup, task = Lineup(tuple(members())), Task(contexts(members()), Warp(), LENGTH, constraint=constraint)
    method = Method(weighted([0.6, 0.4]), cos(2, 1), VERIFICATIONS["token"], 0)
    taken: list[list[Commit]] = [[], []]
    rows = [Row(lineup, method, task, KeyedNoise(1, sample), taken[sample].extend) for sample in (0, 1)]
    for row in rows:
        row.siblings = rows
    engine = Engine(lineup)
    engine.submit(*rows)
    for row in rows:
        engine.run(row)
    texts = [[commit.token for commit in each] for each in taken]
    assert all(balanced(text) for text in texts)
    assert texts[0] != texts[1]
    assert constraint.left == LENGTH


class Asking(Policy):
    """Notes each question about a proposal, and events; with `refuses`, it refuses every other proposal."""

    hears = (Proposed, Accepted, Replaced, Drawn, RolledBack)

    def __init__(self, log: list[Any], refuses: bool) -> None:
        self._log, self._refuses, self._asked = log, refuses, 0

    def turn(self, view: View) -> Turn:
        return Turn((member := view.least_scored(),), ((member, 2), (Pairs.name, 1)))

    def draws(self, open: Sequence[Proposal], proposer: Name, scores: MemberLaws) -> bool:
        self._asked += 1
        self._log.append(("draws", proposer, [proposal.token for proposal in open]))
        return not self._refuses or self._asked % 2 == 0

    def goes_on(self, open: Sequence[Proposal], proposer: Name) -> bool:
        self._log.append(("goes on", proposer, [proposal.token for proposal in open]))
        return True

    def observe(self, event: object) -> None:
        self._log.append(event)


def asked(refuses: bool, constraint: Constraint | None = None, seed: int = 1) -> list[Any]:
    """Return what a policy was asked and told, in order."""
    log: list[Any] = []
    Finished(constraint, Made(lambda request: Asking(log, refuses)), seed=seed)
    return log


def test_draws_is_asked_before_a_proposal_of_a_member():
    """Every proposal of a member comes right behind a question; a refused one never comes."""
    log = asked(refuses=True)
    places = [place for place, each in enumerate(log) if isinstance(each, Proposed) and isinstance(each.proposer, int)]
    assert places
    assert all(log[place - 1][:2] == ("draws", log[place].proposer) for place in places)
    questions = [each for each in log if isinstance(each, tuple) and each[0] == "draws"]
    assert len(places) == len(questions) // 2


def test_a_policy_is_shown_proposals_that_stay():
    """What it is shown as open is all that was proposed and is not decided or rolled back, unchanged and in order."""
    shown = 0
    for seed in range(4):
        open: list[int] = []
        for each in asked(False, Brackets(4, LENGTH, runs={3: (2,)}), seed):
            match each:
                case tuple():
                    assert each[2] == open
                    shown += len(open)
                case Proposed():
                    open.append(int(each.token))
                case Accepted():
                    assert open[: len(each.tokens)] == each.tokens
                    del open[: len(each.tokens)]
                case Replaced() | Drawn():
                    open.clear()
    assert shown > 20


def test_a_policy_that_refuses_changes_no_law():
    """Questions whose answers depend on the law and on the tokens in front, which stay proposals."""

    class Choosy(Schedule):
        def turn(self, view: View) -> Turn:
            return Turn((member := view.least_scored(),), ((member, 2), (Pairs.name, 1)))

        def draws(self, open: Sequence[Proposal], proposer: Name, scores: MemberLaws) -> bool:
            return (sum(int(each.token) for each in open) + int(scores.law.argmax())) % 2 == 0

        def goes_on(self, open: Sequence[Proposal], proposer: Name) -> bool:
            return int(open[-1].token) > 0

    for rule in ("token", "block"):
        options = {"verification": VERIFICATIONS[rule], "proposers": (Pairs.random(2),)}
        pair = [HistoryMember.random(2, seed) for seed in (1, 2)]
        assert largest_error(pair, weighted([0.6, 0.4]), Choosy(), 3, **options) < 1e-12
