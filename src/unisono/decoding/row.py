"""A row: one running sequence, its frontier, its slots in the members, its noise.

A row decides nothing about time: the engine says when a member has scored it, when it settles and when it proposes.
So what a row becomes depends on its request and seed alone, never on the rows beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unisono.auto.policy import Guide
from unisono.decoding.frontier import Frontier, Proposal
from unisono.decoding.required import Needs
from unisono.decoding.schedules import Turn, View, checked
from unisono.decoding.slots import CHUNK, Slots
from unisono.decoding.spec import Method, Settled, Task
from unisono.decoding.verification import Block
from unisono.errors import RequestError
from unisono.members.base import Work
from unisono.members.lineup import Lineup
from unisono.sampling.logits_edits import EditedWarp
from unisono.sampling.noise import Noise
from unisono.sampling.sampler import Names
from unisono.sampling.warp import AnyWarp
from unisono.transfer import Token
from unisono.types import Commit, MemberStats, Stats

GIVEN = 2**22  # the most logits of a member that a row with given tokens keeps at once


class Row:
    """See the module.

    Args:
        emit: is given what each settling commits; None to go on, else the row has ended with that many of these tokens.
    """

    def __init__(
        self,
        lineup: Lineup,
        method: Method,
        task: Task,
        noise: Noise,
        emit: Callable[[list[Commit]], int | None] = lambda commits: None,
    ) -> None:
        self.method = method
        self.task = task
        self.lineup = lineup
        self.frontier = Frontier(len(task.contexts))
        (text,) = lineup.proposers
        compiled = [member.facts.get("compiled") == "yes" for member in lineup.members]
        self.stats = Stats(list(map(MemberStats, lineup.names, compiled)), MemberStats(text))
        self.slots = Slots(lineup, task.contexts)
        self.error: Exception | None = None
        self.needs = Needs(method, task, self.frontier, noise, lineup.combined)
        self.submitted = self.finished = False
        self.waited = 0  # steps since it was last served
        self.started = 0.0  # when it was admitted
        self.siblings: Sequence[Row] = ()  # the samples of one prompt, itself included, in order
        self._turn: Turn | None = None
        self._last: int | None = None  # the member that ran last
        self.guide = Guide(method, task, self.frontier, self.needs)
        self._noise = noise
        self._edits = task.edits.watched()
        self._round = 0  # how often it has settled
        self.emit = emit
        self._offer()

    @property
    def vocabulary(self) -> int:
        """Size V of all laws."""
        return self.lineup.vocabulary

    def ready(self) -> bool:
        """Whether it may start: samples of one prompt wait until the first of them has read it."""
        first = next((row for row in self.siblings if row.submitted and not row.finished), self)
        return first is self or first.frontier.position > 0

    def open(self) -> None:
        """Take a slot in every member, with the prompt in it as far as a sibling has read it."""
        self.slots.open(next((row.slots for row in self.siblings if row.slots), None))

    def heir(self) -> "Row | None":
        """The sibling that takes the slots of this row, which has ended, so that nobody reads the prompt again."""
        waiting = (row for row in self.siblings if row.submitted and not row.finished and not row.slots)
        return next(waiting, None) if self.slots and self.error is None else None

    def inherit(self, row: "Row") -> None:
        """Take over the slots of a sibling that has ended."""
        self.slots.inherit(row.slots)

    def close(self) -> None:
        """Give the slots back."""
        self.slots.close()

    def turn(self) -> Turn:
        """Whom the schedule wants next; it is asked once per round."""
        if self._turn is None:
            scored = tuple(self.frontier.scored(member) for member in self.lineup.everyone)
            frontier = self.frontier
            room = self.task.limit - frontier.position - frontier.open
            view = View(
                frontier.open, scored, self.needs.missing(0), self._proposer(), room, drawn=self.needs.upcoming()
            )
            self._turn = checked(self.guide.turn(view), self.method.schedule.name, self.lineup.everyone)
        return self._turn

    def end_round(self) -> None:
        """The turn was taken: what could be settled is."""
        if self._turn is not None:
            self._last = self._turn.members[-1]
            self.guide.count(self.stats.plans)
        self._turn = None
        self.stats.rounds += 1
        self.next_names()

    def next_names(self) -> None:
        """Choices have been made: the next ones at the same positions are called otherwise."""
        self._round += 1

    def work(self, member: int) -> Work | None:
        """What the member must do to score all open positions within the limit; None if it has scored them."""
        return self.slots.work(member, self.frontier, self._positions())

    def warp_key(self) -> object:
        """Rows with equal keys may be warped together."""
        return self.task.warp if self.task.edits.nothing else self

    def warp(self, first: int, count: int) -> AnyWarp:
        """What turns logits at `count` open positions, from `first` on, into laws."""
        if self.task.edits.nothing:
            return self.task.warp
        proposed = [int(proposal.token) for proposal in self.frontier.proposals]
        prefixes = [self.frontier.committed + proposed[:position] for position in range(first, first + count)]
        return EditedWarp(self.task.warp, self._edits, self.task.prompt, prefixes)

    def known(self) -> int:
        """How many leading positions can be settled: proposals with a known target, and the position behind them."""
        return self.needs.known(self._positions())

    def block(self, known: int) -> Block:
        """What there is to decide at the first open positions, whose targets are known."""
        proposals = self.frontier.proposals[:known]
        return Block(
            self._names(self.frontier.position, len(proposals)),
            [proposal.token for proposal in proposals],
            [proposal.law for proposal in proposals],
            free=len(proposals) < known,
        )

    def settle(self, settled: Settled) -> int:
        """Commit and emit what was decided; returns how many tokens.

        Raises:
            RequestError: the token to commit has no law, or the row has ended and a processor turns out to keep state.
        """
        if settled.lawless:
            raise RequestError(
                f"combination {self.method.combination.name} leaves no possible token behind generated token "
                f"{self.frontier.position + settled.accepted}: each is ruled out by some member or mask, or scores are "
                "not numbers"
            )
        self.guide.learn(settled)
        self.frontier.reveal(settled.tokens)
        proposers = [proposal.member for proposal in self.frontier.proposals[: len(settled.tokens)]]
        commits = self._commit(settled, proposers)
        ended = self.emit(commits) if commits else None
        kept = len(commits) if ended is None else ended
        decided = proposers[: min(kept, settled.accepted + (settled.follows is not None))]
        self.stats.count(decided, min(kept, settled.accepted), kept)
        self.finished = ended is not None or self.frontier.position >= self.task.limit
        if self.finished:
            self._edits.check()
        self._offer()
        return len(commits)

    def draft_room(self, member: int, count: int) -> int:
        """How many of `count` tokens the member can propose now; 0 if what it scored has become void."""
        if self.finished or self.frontier.scored(member) <= self.frontier.open:
            return 0
        return min(count, self.task.limit - self.frontier.position - self.frontier.open)

    def names(self) -> Names:
        """What the choice of the next proposal is called."""
        return self._names(self.frontier.position + self.frontier.open, 1)

    def starts(self, member: int, law: Tensor) -> bool:
        """Whether what the member would propose next, drawn from the law [V], is worth deciding; asked before it is drawn."""
        return self.guide.starts(member, law)

    def propose(self, member: int, token: Token, law: Tensor) -> bool:
        """The member has drawn a token from the law; true if nothing is worth proposing behind it."""
        if not self.task.edits.nothing:
            token = int(token)  # the one place that waits for a draft: its tokens decide about laws
        self.frontier.propose(Proposal(token, law, member, self.guide.trust))
        self.stats.members[member].proposed += 1
        # Whatever follows an end would be thrown away; what was drawn stays a proposal, so this is unbiased
        return self._is_end(token) or self.guide.stops(member)

    def look_up(self, most: int) -> None:
        """Propose up to `most` tokens that followed the last ones where they stood before."""
        room = self.task.limit - self.frontier.position - self.frontier.open
        found, run = self.guide.find(0 if self.finished else min(most, room))
        if found:
            self.frontier.propose_certain(found, ("lookup", run))
        self.stats.lookup.proposed += len(found)

    def _is_end(self, token: Token) -> bool:
        """Whether a token is known to end the text; one that is still on a device is not."""
        return isinstance(token, int) and token in self.task.ends

    def fail(self, error: Exception) -> None:
        """End the row with an error, for whoever waits for it."""
        self.error, self.finished = error, True

    def _names(self, position: int, count: int) -> Names:
        return Names(self._noise, position, self._round, count, self.task.warp.greedy)

    def _positions(self) -> int:
        """Open positions that are of interest: the proposals, and the one behind them where a token may be drawn.

        Nothing follows a proposed end: it is the last token, or it is replaced.
        """
        most = min(self.frontier.open + (not self.task.given), self.task.limit - self.frontier.position)
        ends = (offset for offset, each in enumerate(self.frontier.proposals) if self._is_end(each.token))
        return min(most, next(ends, most) + 1)

    def _proposer(self) -> int:
        """The default proposer; of several as good as it, the one after the member that ran last.

        So rows of a batch alternate in step, whichever of them had a rejection.
        """
        peers = self.method.peers
        if self._last not in peers:
            return self.method.proposer
        return peers[(peers.index(self._last) + 1) % len(peers)]

    def _offer(self) -> None:
        """Propose the next given tokens."""
        if not self.task.given or self.frontier.open:
            return
        most = max(1, min(CHUNK, GIVEN // self.vocabulary))
        for token in self.task.given[self.frontier.position :][:most]:
            self.frontier.propose(Proposal(token, torch.empty(0), 0))

    def _commit(self, settled: Settled, proposers: Sequence[int | None]) -> list[Commit]:
        accepted, follows = settled.accepted, settled.follows
        self.frontier.accept(accepted)
        commits = [
            Commit(token, "accepted", member)
            for token, member in zip(settled.tokens[:accepted], proposers[:accepted], strict=True)
        ]
        if follows is not None:
            self.frontier.replace(follows)
            self.slots.cut(self.frontier.position - 1)  # nobody has read the token itself
            self.needs.forget()
            if accepted < len(settled.tokens):
                commits.append(Commit(follows, "redrawn", proposers[accepted], proposed=settled.tokens[accepted]))
            else:
                commits.append(Commit(follows, "drawn"))
        if settled.logprobs:
            commits = [
                replace(each, logprob=p, top=top) for each, (p, top) in zip(commits, settled.logprobs, strict=True)
            ]
        return commits
