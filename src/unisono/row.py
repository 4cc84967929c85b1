"""A row: one running sequence, its frontier, its slots in the members, its noise.

A row decides nothing about time: the engine says when a member has scored it, when it settles and when it proposes.
So what a row becomes depends on its request and seed alone, never on the rows beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import torch
from torch import Tensor

from unisono.combine.base import Combination
from unisono.edits import EditedWarp, Edits
from unisono.errors import ConfigurationError, RequestError
from unisono.frontier import Frontier, Proposal
from unisono.members.base import Member, Work
from unisono.rng import Noise, Purpose
from unisono.schedules import Schedule, Turn, View
from unisono.types import Commit, MemberStats, Stats
from unisono.verify import Decision, Verification
from unisono.warp import AnyWarp, Warp


@dataclass(frozen=True)
class Method:
    """How a row is decoded: what it follows, who runs when, how proposals are decided."""

    combination: Combination
    schedule: Schedule
    verification: Verification
    proposer: int  # the member that proposes by default


@dataclass(frozen=True)
class Task:
    """What one row is to decode.

    prompts: token ids per member, each with at least one. limit: the most tokens to commit; nothing is scored or
    proposed beyond. ends: tokens behind which nothing is worth proposing. edits: of the logits before the warp.
    logprobs: report that with each token, and of how many of the most probable ones; None for no report. processed:
    of the law that tokens are drawn from, instead of the combination at temperature 1 without edits and truncation.
    """

    prompts: Sequence[Sequence[int]]
    warp: Warp
    limit: int
    ends: frozenset[int] = frozenset()
    edits: Edits = field(default_factory=Edits)
    logprobs: int | None = None
    processed: bool = False


class Row:
    """See the module.

    Args:
        emit: is given what each settling commits; true ends the row.
    """

    def __init__(
        self,
        members: Sequence[Member],
        method: Method,
        task: Task,
        noise: Noise,
        emit: Callable[[list[Commit]], bool] = lambda commits: False,
    ) -> None:
        self.method = method
        self.task = task
        self.frontier = Frontier(task.prompts)
        self.stats = Stats([MemberStats(member.name) for member in members])
        self.slots: list[int] = []
        self.error: Exception | None = None
        self.needed = method.combination.needed(len(members))
        self.finished = False
        self.waited = 0  # steps since it was last served
        self.started = 0.0  # when it was admitted
        self.twin: Row | None = None  # a row with the same prompts, whose caches may be copied
        self._members = members
        self._turn: Turn | None = None
        self._noise = noise
        self.emit = emit

    def ready(self) -> bool:
        """Whether it may start: samples of one prompt wait until the first of them has read it."""
        return self.twin is None or self.twin.finished or self.twin.frontier.position > 0

    def open(self) -> None:
        """Take a slot in every member, with the prompt in it where the twin has read it."""
        for index, member in enumerate(self._members):
            # The last token is read again, for the scores behind it
            common = len(self.task.prompts[index]) - 1
            if self.twin is not None and self.twin.slots and member.length(self.twin.slots[index]) >= common > 0:
                self.slots.append(member.fork(self.twin.slots[index]))
                member.rewind(self.slots[-1], common)
            else:
                self.slots.append(member.open())

    def close(self) -> None:
        """Give the slots back."""
        for member, slot in zip(self._members, self.slots, strict=False):
            member.close(slot)
        self.slots = []

    def turn(self) -> Turn:
        """Whom the schedule wants next; it is asked once per round."""
        if self._turn is None:
            scored = tuple(self.frontier.scored(member) for member in range(len(self._members)))
            frontier = self.frontier
            room = self.task.limit - frontier.position - frontier.open
            view = View(frontier.open, scored, self.needed, self.method.proposer, room)
            self._turn = self._checked(self.method.schedule.turn(view))
        return self._turn

    def end_round(self) -> None:
        """The turn was taken: what could be settled is."""
        self._turn = None
        self.stats.rounds += 1

    def work(self, member: int, most: int) -> Work | None:
        """What the member must read to score all open positions within the limit; None if it has scored them.

        Args:
            most: read at most this many tokens; if more are missing, only the first ones are read and nothing scored.
        """
        frontier = self.frontier
        positions = min(frontier.open + 1, self.task.limit - frontier.position)
        keep = positions - frontier.scored(member)
        if keep <= 0:
            return None
        tokens = frontier.missing(member, self._members[member].length(self.slots[member]), positions)
        if len(tokens) > max(most, keep):
            return Work(self.slots[member], tokens[: max(1, min(most, len(tokens) - keep))], 0)
        return Work(self.slots[member], tokens, keep)

    def warp_key(self) -> object:
        """Rows with equal keys may be warped together."""
        return self.task.warp if self.task.edits.nothing else self

    def asked(self) -> tuple[bool, bool]:
        """Whether log-probabilities are asked for, and whether of the processed law."""
        return self.task.logprobs is not None, self.task.processed

    def warp(self, first: int, count: int) -> AnyWarp:
        """What turns logits at `count` open positions, from `first` on, into laws."""
        if self.task.edits.nothing:
            return self.task.warp
        proposed = [proposal.token for proposal in self.frontier.proposals]
        prefixes = [self.frontier.committed + proposed[:position] for position in range(first, first + count)]
        return EditedWarp(self.task.warp, self.task.edits, self.task.prompts[0], prefixes)

    def known(self) -> int:
        """How many leading positions can be settled: proposals with a known target, and the position behind them."""
        scored = min(self.frontier.scored(member) for member in self.needed)
        return min(scored, self.frontier.open + 1)

    def settle(self, targets: Tensor, plain: Tensor | None = None) -> int:
        """Decide the first K open positions and emit what that commits; returns how many tokens.

        Args:
            targets: target laws [K, V]. plain: those at temperature 1 without truncation, for log-probabilities.
        """
        proposals = self.frontier.proposals[: len(targets)]
        laws = torch.stack([proposal.law.to(targets.device) for proposal in proposals]) if proposals else targets[:0]
        tokens = [proposal.token for proposal in proposals]
        decision = self.method.verification(
            targets, laws, tokens, self._noise, self.frontier.position, self.stats.rounds
        )
        if decision.token is not None:
            self._require_law(targets[decision.accepted])
        commits = self._commit(decision)
        if plain is not None and commits:
            commits = _with_logprobs(commits, plain, self.task.logprobs or 0)
        self.stats.tokens += len(commits)
        if commits:
            self.finished = self.emit(commits) or self.frontier.position >= self.task.limit
        return len(commits)

    def draft_room(self, member: int, count: int) -> int:
        """How many of `count` tokens the member can propose now; 0 if what it scored has become void."""
        if self.finished or self.frontier.scored(member) <= self.frontier.open:
            return 0
        return min(count, self.task.limit - self.frontier.position - self.frontier.open)

    def propose(self, member: int, law: Tensor) -> bool:
        """The member draws a token from the law; true if nothing is worth proposing behind it."""
        position = self.frontier.position + self.frontier.open
        token = self._noise.draw(law, Purpose.PROPOSE, position, self.stats.rounds)
        self.frontier.propose(Proposal(token, law, member))
        self.stats.members[member].proposed += 1
        # Whatever follows an end would be thrown away; the end itself stays a proposal, so this is unbiased
        return token in self.task.ends

    def fail(self, error: Exception) -> None:
        """End the row with an error, for whoever waits for it."""
        self.error, self.finished = error, True

    def _checked(self, turn: Turn) -> Turn:
        """A user's schedule may name members that do not exist, none, or one twice."""
        valid = isinstance(turn, Turn) and isinstance(turn.members, tuple) and isinstance(turn.propose, int)
        known = range(len(self._members))
        if not valid or not turn.members or any(member not in known for member in turn.members) or turn.propose < 0:
            raise ConfigurationError(f"schedule {self.method.schedule.name} gave a turn that cannot be taken: {turn}")
        if len(turn.members) > 1 and (turn.propose or len(set(turn.members)) < len(turn.members)):
            raise ConfigurationError(
                f"schedule {self.method.schedule.name} gave a turn that cannot be taken: members that run together "
                f"are different and propose nothing, not: {turn}"
            )
        return turn

    def _require_law(self, target: Tensor) -> None:
        # The softmax of impossible tokens only is nan throughout, so one entry tells
        if bool(target[0].isnan()):
            raise RequestError(
                f"combination {self.method.combination.name} leaves no possible token behind generated token "
                f"{self.frontier.position}: each is ruled out by some member or mask, or scores are not numbers"
            )

    def _commit(self, decision: Decision) -> list[Commit]:
        frontier, stats = self.frontier, self.stats
        rejected = frontier.proposals[decision.accepted : decision.accepted + 1] if decision.redrawn else []
        accepted = frontier.accept(decision.accepted)
        for proposal in accepted:
            stats.members[proposal.member].accepted += 1
        stats.verified += len(accepted) + len(rejected)
        commits = [Commit(proposal.token, "accepted", proposal.member) for proposal in accepted]
        if decision.token is not None:
            frontier.replace(decision.token)
            for member in range(len(self._members)):
                self._forget(member)
            origin = ("redrawn", rejected[0].member) if rejected else ("drawn", None)
            commits.append(Commit(decision.token, *origin))
        return commits

    def _forget(self, index: int) -> None:
        """Roll a member back to what is committed; the token just committed is not in its cache."""
        member, slot = self._members[index], self.slots[index]
        committed = len(self.frontier.prompts[index]) + self.frontier.position - 1
        if member.length(slot) > committed:
            member.rewind(slot, committed)


def _with_logprobs(commits: list[Commit], laws: Tensor, top: int) -> list[Commit]:
    logs = laws[: len(commits)].log()
    tokens = torch.tensor([commit.token for commit in commits], device=laws.device)
    values = logs.gather(-1, tokens.unsqueeze(-1)).flatten().tolist()
    best, ids = (found[:, :top].tolist() for found in logs.sort(-1, descending=True))
    return [
        replace(
            commit, logprob=values[k], top=tuple(pair for pair in zip(ids[k], best[k], strict=True) if pair[1] > -inf)
        )
        for k, commit in enumerate(commits)
    ]
