"""The decode loop: ask the schedule, run a member, settle what can be decided, let the member propose.

One loop for every method. Exactness rests on three facts that are visible here: a proposal carries the law it was drawn
from; whatever is committed went through `settle`, against the target law at its position; and every choice has a random
name that is used once.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, target_law
from unisono.errors import ConfigurationError, RequestError
from unisono.frontier import Frontier, Proposal
from unisono.members.base import Member
from unisono.rng import Noise, Purpose
from unisono.schedules import Schedule, View
from unisono.types import Commit, MemberStats, Stats
from unisono.verify import Decision, Verification
from unisono.warp import Warp


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
    proposed beyond. ends: tokens behind which nothing is worth proposing. logprobs: report them with each token.
    """

    prompts: Sequence[Sequence[int]]
    warp: Warp
    limit: int
    ends: frozenset[int] = frozenset()
    logprobs: bool = False


class Row:
    """One running sequence: its frontier, its slots in the members, its noise."""

    def __init__(self, members: Sequence[Member], method: Method, task: Task, noise: Noise) -> None:
        self.frontier = Frontier(task.prompts)
        self.stats = Stats([MemberStats(member.name) for member in members])
        self._members = members
        self._method = method
        self._needed = method.combination.needed(len(members))
        self._task = task
        self._noise = noise
        self._slots: list[int] = []

    def rounds(self) -> Iterator[list[Commit]]:
        """Decode until the limit; yields what each round committed, often nothing. Closing it frees the slots."""
        started = time.perf_counter()
        try:
            for member in self._members:
                self._slots.append(member.open())
            with ThreadPoolExecutor(len(self._members)) as pool:  # starts threads only when it is given work
                while self.frontier.position < self._task.limit:
                    commits = self._round(pool)
                    self.stats.seconds = time.perf_counter() - started
                    yield commits
        finally:
            for member, slot in zip(self._members, self._slots, strict=False):
                member.close(slot)

    @torch.inference_mode()
    def _round(self, pool: ThreadPoolExecutor) -> list[Commit]:
        turn = self._method.schedule.turn(self._view())
        # Every member scores the open positions within the limit that it has not scored
        scored = [self._score(turn.members[0])] if len(turn.members) == 1 else [*pool.map(self._score, turn.members)]
        commits = self._settle()
        self.stats.rounds += 1
        self.stats.tokens += len(commits)
        # A redraw voids what was scored: whoever comes next is the schedule's choice again
        proposed = 0
        if turn.propose and self.frontier.scored(turn.members[0]) > self.frontier.open:
            proposed = self._propose(turn.members[0], turn.propose)
        if not (any(scored) or commits or proposed):
            raise ConfigurationError(f"schedule {self._method.schedule.name} makes no progress: {turn} does nothing")
        return commits

    def _view(self) -> View:
        scored = tuple(self.frontier.scored(member) for member in range(len(self._members)))
        return View(self.frontier.open, scored, self._needed, self._method.proposer)

    def _score(self, index: int) -> bool:
        member, slot, frontier = self._members[index], self._slots[index], self.frontier
        positions = min(frontier.open + 1, self._task.limit - frontier.position)
        keep = positions - frontier.scored(index)
        if keep <= 0:
            return False
        started = time.perf_counter()
        tokens = frontier.missing(index, member.length(slot), positions)
        frontier.add_scores(index, member.score(slot, tokens, keep))
        stats = self.stats.members[index]
        stats.forwards += 1
        stats.seconds += time.perf_counter() - started
        return True

    def _settle(self) -> list[Commit]:
        """Decide the leading positions whose target law is known."""
        frontier = self.frontier
        known = min(frontier.scored(member) for member in self._needed)
        known = min(known, frontier.open + 1)
        if known == 0:
            return []
        logits = self._known_logits(known)
        targets = target_law(self._method.combination, logits, self._task.warp)
        proposals = frontier.proposals[:known]
        decision = self._method.verification(
            targets,
            torch.stack([proposal.law.to(targets.device) for proposal in proposals]) if proposals else targets[:0],
            [proposal.token for proposal in proposals],
            self._noise,
            frontier.position,
            self.stats.rounds,
        )
        if decision.token is not None:
            self._require_law(targets[decision.accepted])
        commits = self._commit(decision)
        return self._with_logprobs(commits, logits) if self._task.logprobs else commits

    def _known_logits(self, known: int) -> list[Tensor]:
        """Per member, logits [known, V]; an unneeded member's place holds those of a needed one, and is not read."""
        some = self.frontier.scores(self._needed[0], known)
        needed = {member: self.frontier.scores(member, known).to(some.device) for member in self._needed}
        return [needed.get(member, some) for member in range(len(self._members))]

    def _require_law(self, target: Tensor) -> None:
        # The softmax of impossible tokens only is nan throughout, so one entry tells
        if bool(target[0].isnan()):
            raise RequestError(
                f"combination {self._method.combination.name} leaves no possible token behind generated token "
                f"{self.frontier.position}: every token is ruled out by some member"
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
            for index in range(len(self._members)):
                self._forget(index)
            origin = ("redrawn", rejected[0].member) if rejected else ("drawn", None)
            commits.append(Commit(decision.token, *origin))
        return commits

    def _forget(self, index: int) -> None:
        """Roll a member back to what is committed; the token just committed is not in its cache."""
        member, slot = self._members[index], self._slots[index]
        committed = len(self.frontier.prompts[index]) + self.frontier.position - 1
        if member.length(slot) > committed:
            member.rewind(slot, committed)

    def _propose(self, index: int, count: int) -> int:
        """The member proposes up to `count` tokens: the first from what it has scored, the rest one forward each."""
        frontier = self.frontier
        count = min(count, self._task.limit - frontier.position - frontier.open)
        for drafted in range(count):
            if drafted:
                self._score(index)
            law = self._task.warp(frontier.law_source(index))
            position = frontier.position + frontier.open
            token = self._noise.draw(law, Purpose.PROPOSE, position, self.stats.rounds)
            frontier.propose(Proposal(token, law, index))
            self.stats.members[index].proposed += 1
            # Whatever follows an end would be thrown away; the end itself stays a proposal, so this is unbiased
            if token in self._task.ends:
                break
        return count

    def _with_logprobs(self, commits: list[Commit], logits: list[Tensor]) -> list[Commit]:
        law = self._method.combination([member[: len(commits)] for member in logits], Warp())
        tokens = torch.tensor([[commit.token] for commit in commits], device=law.device)
        values = law.gather(-1, tokens).log().flatten().tolist() if commits else []
        return [
            Commit(commit.token, commit.origin, commit.member, value)
            for commit, value in zip(commits, values, strict=True)
        ]
