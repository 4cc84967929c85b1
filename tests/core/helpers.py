"""Members that notice a wrong cache, noise that is scripted, and runs that keep their row."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unisono import SamplingParams, combine
from unisono.auto.policy import Auto
from unisono.combine import Combination
from unisono.combine.base import static_odds
from unisono.decoding import (
    Policy,
    RowRequest,
    Schedule,
    Turn,
    View,
    cos,
    lookup,
    parallel,
    relay,
    risky,
    speculative,
    standard,
)
from unisono.decoding.prompt_lookup import Lookup
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.members.base import Scores, Work
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.members.tokens import Append
from unisono.methods import Asked, Methods
from unisono.sampling.noise import Noise, Purpose
from unisono.sampling.warp import Warp
from unisono.testing import EnumeratingNoise, Tokens, contexts, rounds
from unisono.types import Commit

STATES = 1009
TWO_SCHEDULES = (
    *(standard(), parallel(), speculative(1), speculative(2), speculative(3)),
    *(cos(1, 1), cos(2, 1), cos(1, 2), cos(3, 1)),
    *(risky(0), risky(1), risky(2)),
    *(lookup(1), lookup(3), relay(2)),
)
THREE_SCHEDULES = (
    *(standard(), parallel(), speculative(1), speculative(2), speculative(3)),
    *(cos(1, 1, 1), cos(2, 1, 1), cos(3, 2, 1)),
    *(risky(0), risky(2)),
    *(lookup(2), relay(1)),
)


def schedules(members: int) -> tuple[Schedule, ...]:
    return TWO_SCHEDULES if members == 2 else THREE_SCHEDULES


class HistoryMember(TableMember):
    """A member whose law depends on every token in its slot, so that a wrong cache gives a wrong law.

    `score` reads the slot, not the call, and checks what the `Member` protocol promises. `calls` lists the number of tokens
    read and of logits kept.
    """

    def __init__(self, laws: Tensor, name: str = "history", parameters: int = 1) -> None:
        super().__init__(laws, name, parameters)
        self.calls: list[tuple[int, int]] = []

    @classmethod
    def random(
        cls, vocabulary: int, seed: int, name: str = "history", parameters: int = 1, like: "HistoryMember | None" = None
    ) -> "HistoryMember":
        """Flat Dirichlet laws; with `like`, the even mixture of them and that member's."""
        generator = torch.Generator().manual_seed(seed)
        masses = -torch.rand(STATES, vocabulary, generator=generator, dtype=torch.float64).log()
        laws = masses / masses.sum(-1, keepdim=True)
        return cls(laws if like is None else (laws + like.laws()) / 2, name, parameters)

    @classmethod
    def sparse(cls, vocabulary: int, seed: int) -> "HistoryMember":
        """As `random`, with one token impossible in every state, another one in other states."""
        laws = cls.random(vocabulary, seed).laws()
        forbidden = torch.randint(vocabulary, (STATES, 1), generator=torch.Generator().manual_seed(seed))
        laws = laws.scatter(-1, forbidden, 0)
        return cls(laws / laws.sum(-1, keepdim=True))

    def laws(self) -> Tensor:
        return self._logits.exp()

    def rewind(self, slot: int, length: int) -> None:
        assert 0 <= length <= self.length(slot)
        super().rewind(slot, length)

    def score(self, work: Sequence[Work]) -> list[Scores]:
        assert len({item.slot for item in work}) == len(work)
        for item in work:
            left = self.unread(item.slot) - item.read
            assert left <= 0 or not (item.tokens or item.keep)  # the context is read first
            assert item.keep <= len(item.tokens) + (self.length(item.slot) == 0)
            assert not item.keep or item.committed <= self.length(item.slot) + len(item.tokens)
        return super().score(work)

    def _scored(self, item: Append) -> Tensor:
        assert 0 <= item.keep <= len(item.tokens) > 0
        self.calls.append((len(item.tokens), item.keep))
        held = self._slots[item.slot]
        held.extend(int(token) for token in item.tokens)
        rows = [self._row(held[:end]) for end in range(len(held) - item.keep + 1, len(held) + 1)]
        return torch.stack(rows) if rows else self._logits[:0]

    def law(self, prefix: Sequence[int]) -> Tensor:
        return self._row(prefix).exp()

    def _row(self, prefix: Sequence[int]) -> Tensor:
        state = 0
        for token in prefix:
            state = (31 * state + token + 1) % STATES
        return self._logits[state]


class Script(Noise):
    """Noise with given outcomes, which notes what it was asked. `leading` None: all that were asked for."""

    def __init__(self, draws: Sequence[int] = (), leading: int | None = None) -> None:
        self._draws = list(draws)
        self._leading = leading
        self.drawn: list[tuple[Tensor, Purpose, int, int]] = []
        self.tossed: list[tuple[Tensor, int, int]] = []

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        self.drawn.append((law, purpose, position, round))
        return self._draws.pop(0)

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        self.tossed.append((probabilities, position, round))
        return len(probabilities) if self._leading is None else self._leading


@dataclass
class Run:
    """What a finished run leaves behind: its row, what each round committed, and the turns the schedule took."""

    row: Row
    rounds: list[list[Commit]] = field(default_factory=list)
    turns: list[tuple[View, Turn]] = field(default_factory=list)

    @property
    def commits(self) -> list[Commit]:
        return [commit for commits in self.rounds for commit in commits]

    @property
    def tokens(self) -> Tokens:
        return tuple(commit.token for commit in self.commits)


class Made(Schedule):
    """A schedule whose policies a function makes; `like`: the schedule that it is otherwise like."""

    def __init__(self, make: Callable[[RowRequest], Policy], like: Schedule | None = None) -> None:
        like = like or Schedule("made")
        super().__init__(like.name, None, like.members, like.lazy, like.certain)
        self._make = make

    def policy(self, request: RowRequest) -> Policy:
        return self._make(request)


def requested(
    combination: Combination,
    members: int = 2,
    warp: Warp | None = None,
    verification: str = "token",
    proposer: int = 0,
    prompt: Sequence[int] = (),
) -> RowRequest:
    """What a policy is told of a row whose text begins with a prompt."""
    warp = warp or Warp()
    needed, odds = combination.needed(members), static_odds(combination, members, warp)
    return RowRequest(combination, warp, verification, proposer, needed, odds, frozenset(), True, Lookup(prompt))


def recorded(policy: Policy, turns: list[tuple[View, Turn]]) -> Policy:
    """The policy, which notes its turns."""
    noted: Any = copy.copy(policy)

    def turn(view: View) -> Turn:
        turns.append((view, type(policy).turn(noted, view)))
        return turns[-1][1]

    noted.turn = turn
    return noted  # type: ignore[no-any-return]


def observed(
    members: Sequence[TableMember],
    schedule: Schedule,
    noise: Noise,
    tokens: int,
    combination: Combination | None = None,
    warp: Warp | None = None,
    proposer: int = 0,
    prompts: Sequence[Sequence[int]] | None = None,
    after_round: Callable[[Row], object] = lambda row: None,
    verification: Verification = VERIFICATIONS["token"],
    drafters: int = 0,
    **task: object,
) -> Run:
    """One run of the real loop; `after_round` is called after every round with its row."""
    run = Run(row=None)  # type: ignore[arg-type]
    lineup = Lineup(tuple(members), drafters)
    combination = combination or combine.weighted([1.0 for _ in lineup.combined])
    method = Method(
        combination,
        Made(lambda request: recorded(schedule.policy(request), run.turns), schedule),
        verification,
        proposer,
    )
    options = Task(contexts(members, prompts), warp or Warp(), tokens, **task)  # type: ignore[arg-type]
    committed: list[Commit] = []
    run.row = Row(lineup, method, options, noise, committed.extend)
    for _ in rounds(run.row):
        run.rounds.append(list(committed))
        committed.clear()
        after_round(run.row)
    return run


def chosen(
    parameters: Sequence[int],
    *asked: object,
    params: SamplingParams | None = None,
    drafters: int = 0,
    auto: Auto | None = None,
) -> Method:
    """The method of members with so many weights, by default for combination, schedule and verification as `asked`."""
    tables = [TableMember(torch.eye(2), parameters=count) for count in parameters]
    return Methods(Lineup(tuple(tables), drafters), Asked(*asked), auto).choose(Asked(), params)


def watch(members: Sequence[TableMember], rows: Sequence[Row]) -> None:
    """Whatever a member scores from now on, the slot then holds a prefix of its row's context, committed tokens, proposals."""
    for index, member in enumerate(members):
        watched: Any = _watched(member, index, rows)
        member.score = watched  # type: ignore[method-assign]


def _watched(member: TableMember, index: int, rows: Sequence[Row]) -> Callable[[Sequence[Work]], list[Scores]]:
    score = member.score

    def watched(work: Sequence[Work]) -> list[Scores]:
        found = score(work)
        slots = {item.slot for item in work}
        for row in [row for row in rows if row.slots and row.slots._slots[index] in slots]:
            proposed = [proposal.token for proposal in row.frontier.proposals]
            text = [*row.task.contexts[index].tokens, *row.frontier.committed, *proposed]
            held = member._slots[row.slots._slots[index]]
            assert held == text[: len(held)]
        return found

    return watched


def outcomes(run: Callable[[Noise], Tokens]) -> Iterator[tuple[Tokens, float]]:
    """Every outcome of a run with its probability."""
    return iter(EnumeratingNoise(run))


def summed(masses: Iterable[tuple[Tokens, float]]) -> dict[Tokens, float]:
    """The law of outcomes, each of which may occur several times."""
    law: dict[Tokens, float] = {}
    for tokens, mass in masses:
        law[tokens] = law.get(tokens, 0.0) + mass
    return law


def expectation(run: Callable[[Noise], float]) -> float:
    """Exact mean of a number that a run returns."""
    noise = EnumeratingNoise(run)  # type: ignore[arg-type]
    return sum(probability * value for value, probability in noise)  # type: ignore[operator,misc]
