"""A row: one running sequence with its frontier, its slots in the members, its policy and its noise.

The engine decides when members score a row, when proposals are verified and when the row drafts. The text of a row
depends only on its request and seed, not on other rows.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from unisono.decoding.blocks import Block
from unisono.decoding.decision import committed, lawless, tell
from unisono.decoding.events import Ended, Listener, Listeners, Proposed, Scored
from unisono.decoding.frontier import Frontier
from unisono.decoding.laws import RowLaws
from unisono.decoding.policy import Policy, RowRequest, Turn, View, checked
from unisono.decoding.prompt_lookup import Lookup
from unisono.decoding.proposals import Draft, Proposal
from unisono.decoding.required import Needs
from unisono.decoding.slots import CHUNK, Slots
from unisono.decoding.spec import Method, Settled, Task
from unisono.errors import RequestError, named
from unisono.members.base import Scores, Work
from unisono.members.lineup import Lineup
from unisono.sampling.noise import Noise
from unisono.sampling.sampler import Names
from unisono.types import Commit, MemberStats, Stats

T = TypeVar("T")
GIVEN = 2**22  # the maximum number of logits per member that a row with given tokens keeps


class Row:
    """One running sequence. A row decodes the text of one sample, or computes scores for the tokens in `task.given`.

    Args:
        take: a function that receives newly committed tokens. It returns None to go on. To end the text, it returns how
            many of these tokens belong to the text.
    """

    def __init__(
        self,
        lineup: Lineup,
        method: Method,
        task: Task,
        noise: Noise,
        take: Callable[[list[Commit]], int | None] = lambda commits: None,
    ) -> None:
        self.lineup, self.method, self.task = lineup, method, task
        constraint = None if task.constraint is None else task.constraint.copy()
        self.frontier = Frontier(len(task.contexts), task.limit, task.ends, constraint, lineup.vocabulary)
        combination, combined = method.combination, len(lineup.combined)
        likelihood = torch.empty(0, dtype=torch.float64)
        likelihoods = [likelihood for _ in lineup.combined if "loglikelihood" in combination.reads]
        self.laws = RowLaws(task, combination, combined, self.frontier, task.edits.watched(), likelihoods)
        self.needs = Needs(method, self.laws, noise)
        self.text = Lookup(task.prompt, self.frontier.committed)
        features = self.needs.all if "features" in combination.reads else ()
        self.slots = Slots(lineup, task.contexts, features)
        compiled = [each.facts.get("compiled") == "yes" and i not in features for i, each in enumerate(lineup.members)]
        self.stats = Stats(list(map(MemberStats, lineup.names, compiled)))
        self.stats.proposers = list(map(MemberStats, lineup.proposer_names))
        self.error: Exception | None = None
        self.submitted = self.finished = False
        self.waited = 0  # steps since the last turn
        self.started = 0.0  # the time of the admission
        self.siblings: Sequence[Row] = ()  # all samples of the same prompt in order, with this row
        self.before: Sequence[Row] = ()  # rows that must end before this row starts
        self._noise, self._take = noise, take
        self._turn: Turn | None = None
        self._checked: Turn | None = None  # the last turn that was found valid
        self._following = ""  # the name of the policy's plan for this turn
        self._last: int | None = None  # the member that ran last
        self._round = 0  # the number of the round, for noise keys
        self.policy = method.schedule.policy(self._request())
        self.listeners = Listeners(self.policy)
        self._offer()

    def _request(self) -> RowRequest:
        return RowRequest(
            combination=self.method.combination,
            warp=self.task.warp,
            verification=self.method.verification.name,
            proposer=self.method.proposer,
            needed=self.needs.all,
            odds=self.needs.odds,
            ends=self.task.ends,
            plain=self.laws.plain,
            text=self.text,
        )

    @property
    def vocabulary(self) -> int:
        return self.lineup.vocabulary

    def listen(self, listener: Listener) -> None:
        """Send all later events of the row, of the kinds in `listener.hears`, to the listener."""
        self.listeners.add(listener)

    def drawn(self, position: int) -> int | None:
        """Return the member drawn for an open position; None if the combination draws no members."""
        return self.needs.drawn(position - self.frontier.position) if self.needs.draws else None

    def ready(self) -> bool:
        """Return whether the row may start. Samples of one prompt wait until the first sample has read the prompt."""
        if not all(row.finished for row in self.before):
            return False
        first = next((row for row in self.siblings if row.submitted and not row.finished), self)
        return first is self or first.frontier.position > 0

    def open(self) -> None:
        """Open a slot in every member, or copy a sibling's slots. If a row in `before` has failed, raise its error."""
        for row in self.before:
            if row.error is not None or row.frontier.position < row.task.limit:
                raise row.error or RequestError("the scoring of the prompt was cancelled")
        self.slots.open(next((row.slots for row in self.siblings if row.slots), None))

    def heir(self) -> "Row | None":
        """Return a waiting sample of the same prompt that can reuse the slots of this ended row; None if none waits."""
        waiting = (row for row in self.siblings if row.submitted and not row.finished and not row.slots)
        return next(waiting, None) if self.slots and self.error is None else None

    def inherit(self, row: "Row") -> None:
        self.slots.inherit(row.slots)

    def close(self) -> None:
        self.slots.close()

    def turn(self) -> Turn:
        """Return the policy's next turn. The policy is called once per round."""
        if self._turn is None:
            frontier, needs = self.frontier, self.needs
            if frontier.constraint is not None:
                self._proposed(frontier.begin())  # not in the constructor, where no listener can be added yet
            scored = tuple([len(said) for said in frontier.said])
            needed = needs.missing(0) or needs.all
            view = View(frontier.open, scored, needed, self._proposer(), frontier.room, needs.upcoming())
            turn, self._following = self.asked(lambda policy: (policy.turn(view), policy.following))
            needs.allow(self.policy.lazy)
            if self._checked is None or turn != self._checked:
                checked(turn, self.method.schedule.name, self.lineup.everyone, self.lineup.proposer_names)
            self._turn = self._checked = turn
        return self._turn

    def asked(self, ask: Callable[[Policy], T]) -> T:
        """Return the result of `ask` for the row's policy.

        Raises:
            ConfigurationError: the policy raised an error; the message names the schedule.
        """
        try:
            return ask(self.policy)
        except Exception as error:  # a user-defined policy may raise anything
            raise named(f"schedule {self.method.schedule.name}", error) from error

    def end_round(self) -> None:
        """Count the round in the statistics, discard the round's turn, and start new noise keys."""
        if self._turn is not None:
            self._last = self._turn.members[-1]
            if plan := self._following:
                self.stats.plans[plan] = self.stats.plans.get(plan, 0) + 1
        self._turn = None
        self.stats.rounds += 1
        self.next_names()

    def next_names(self) -> None:
        """Start new noise keys, because the keys of the present round have been used."""
        self._round += 1

    def work(self, member: int) -> Work | None:
        """Return the member's work to score all open positions; None if the member has scored them."""
        return self.slots.work(member, self.frontier, self._positions())

    def add_scores(self, member: int, scores: Scores, seconds: float) -> None:
        """Add a member's scores from one forward pass, and add the cost of the pass to the statistics.

        seconds: the part of the duration of the pass that is counted for this row.
        """
        first = self.frontier.position + self.frontier.scored(member)
        self.frontier.add_scores(member, scores)
        stats = self.stats.members[member]
        stats.forwards += 1
        stats.seconds += seconds
        if self.listeners.hear(Scored) and len(scores.logits):
            self.listeners.tell(Scored, member, first, scores)

    def known(self) -> int:
        """Return the number of open positions that can be decided. If computing it raises an error, the row ends."""
        try:
            return self.needs.known(self._positions())
        except Exception as error:
            self.fail(error)
            return 0

    def lacks(self, member: int) -> bool:
        """Return whether the first open position needs the member's scores. If this raises an error, the row ends."""
        try:
            return member in self.needs.missing(0)
        except Exception as error:
            self.fail(error)
            return False

    def block(self, known: int) -> Block:
        """Return the block of the first `known` open positions, whose target laws are known."""
        proposals = self.frontier.proposals[:known]
        tokens, laws = [each.token for each in proposals], [each.law for each in proposals]
        return Block(self.names(0, len(proposals)), tokens, laws, len(proposals) < known)

    def settle(self, settled: Settled) -> int:
        """Commit the decided tokens. Return the number of committed tokens.

        Raises:
            RequestError: no token is possible, or the row has ended and one of the row's processors keeps state.
        """
        frontier = self.frontier
        if settled.lawless:
            raise lawless(self.method.combination.name, frontier.position + settled.accepted)
        frontier.reveal(settled.tokens)
        commits = committed(frontier, settled)
        ended = self._take(commits) if commits else None
        kept = len(commits) if ended is None else ended
        if self.listeners:
            tell(self.listeners, frontier, settled, kept, ended is not None)
        most = min(kept, len(settled.tokens), settled.committed)
        decided = [proposal.proposer for proposal in frontier.proposals[:most]]
        self.stats.count(decided, min(kept, settled.accepted), kept)
        for member, values in enumerate(settled.likelihoods):
            self.laws.extend(member, values)
        self._advance(settled, ended is not None)
        return len(commits)

    def names(self, offset: int | None = None, count: int = 1) -> Names:
        """Return the noise keys of `count` positions. The first is at `offset`, by default after the last proposal."""
        frontier = self.frontier
        position = len(frontier.committed) + (len(frontier.proposals) if offset is None else offset)
        return Names(self._noise, position, self._round, count, self.task.warp.greedy)

    def extend(self, draft: Draft) -> None:
        """Append a draft's tokens to the proposals. Stop if no token may follow or the constraint forces a token."""
        frontier, first, added = self.frontier, self.frontier.open, 0
        for token, law in zip(draft.tokens, draft.laws, strict=True):
            if frontier.closed or frontier.open != first + added:
                break
            # Wait for the token only if edits, masks or the combination read it
            token = int(token) if self.laws.on_host else token
            self._proposed(frontier.propose(Proposal(token, law, draft.proposer)))
            added += 1
        self.stats.of(draft.proposer).proposed += added

    def fail(self, error: Exception) -> None:
        """End the row and store the error. `Engine.run` raises this error."""
        self.error, self.finished = error, True

    def _positions(self) -> int:
        return self.frontier.positions(free=not self.task.given)

    def _proposer(self) -> int:
        """Return the peer after the member that ran last, or the default proposer if this member is not a peer.

        So all rows of a batch switch to the next peer together, even if only some rows had a rejection.
        """
        peers = self.method.peers
        if self._last not in peers:
            return self.method.proposer
        return peers[(peers.index(self._last) + 1) % len(peers)]

    def _offer(self) -> None:
        if not self.task.given or self.frontier.open:
            return
        most = max(1, min(CHUNK, GIVEN // self.vocabulary))
        for token in self.task.given[self.frontier.position :][:most]:
            self.frontier.propose(Proposal(token, None, 0))

    def _proposed(self, proposals: Sequence[Proposal]) -> None:
        first = self.frontier.position + self.frontier.open - len(proposals)
        for offset, proposal in enumerate(proposals if self.listeners.hear(Proposed) else ()):
            self.listeners.tell(Proposed, first + offset, proposal.token, proposal.proposer)

    def _advance(self, settled: Settled, ended: bool) -> None:
        """Commit the decided tokens to the frontier, rewind the slots, and end the row if the text has ended."""
        frontier = self.frontier
        frontier.accept(settled.accepted)
        full = frontier.position + (settled.follows is not None) >= self.task.limit
        cancelled = self.finished  # during this step, by another thread or a listener
        self.finished = cancelled or ended or full
        if self.finished:
            frontier.constraint = None  # nothing follows
        if settled.follows is not None:
            forced = frontier.replace(settled.follows)
            self.slots.cut(frontier.position - 1)  # the committed token itself is not read yet
            self.needs.forget()
            self._proposed(forced)
        if self.finished and not cancelled:
            self.laws.edits.check()
            self.listeners.tell(Ended, self.stats.tokens)
        self._offer()
