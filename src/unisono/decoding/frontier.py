"""A row's frontier: what is committed, what is proposed, what each member has scored of it, and what may follow.

The only mutable state of decoding besides the members' caches. It knows tokens and tensors, neither models nor prompts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unisono.decoding.proposals import FORCED, Proposal
from unisono.errors import RequestError, named
from unisono.members.base import Scores
from unisono.sampling.constraint import Constraint, require_mask
from unisono.transfer import Token

Place = tuple[Tensor, int]  # a row of a tensor that several positions share


class Said:
    """What one member says at one open position: its scores there, and the laws that were made of them.

    logits: where its logits [V] are. law, raw: where its laws [V] are, once they were made; nothing writes to them.
    """

    __slots__ = ("index", "law", "raw", "scores")

    def __init__(self, scores: Scores, index: int) -> None:
        self.scores, self.index = scores, index
        self.law: Place | None = None
        self.raw: Place | None = None if scores.raw is None else (scores.raw, index)

    @property
    def logits(self) -> Place:
        return self.scores.logits, self.index


def joined(places: Sequence[Place]) -> Tensor:
    """Return the rows at these places as one tensor [N, V]; without a copy where they are neighbours in one tensor."""
    first, start = places[0]
    if all(base is first and index == start + offset for offset, (base, index) in enumerate(places)):
        return first[start : start + len(places)]
    return torch.stack([base[index].to(first.device) for base, index in places])


class Frontier:
    """Open positions of one row, counted from the first one that is not committed.

    Args:
        members: how many score.
        limit: the most tokens of the row.
        ends: tokens behind which nothing follows.
        constraint: what may follow; it belongs to this row and stands behind the last open proposal that it allows.
        vocabulary: size of the constraint's masks.
    """

    def __init__(
        self,
        members: int,
        limit: int = 2**31,
        ends: frozenset[int] = frozenset(),
        constraint: Constraint | None = None,
        vocabulary: int = 0,
    ) -> None:
        self.committed: list[int] = []
        self.proposals: list[Proposal] = []
        self.said: list[list[Said]] = [[] for _ in range(members)]  # per member, of each position that it has scored
        self.constraint = constraint
        self._masks: list[Tensor] = []  # of each open position that the constraint has come to
        self._lost = False  # whether the constraint forbids the last proposal
        self._open: tuple[list[Any], ...] = (self.proposals, self._masks, *self.said)  # what ends with its position
        self._limit, self._ends, self._vocabulary = limit, ends, vocabulary

    @property
    def position(self) -> int:
        """Index of the first open position among the generated tokens."""
        return len(self.committed)

    @property
    def open(self) -> int:
        """How many proposals there are; the position behind the last one is open too, but has none."""
        return len(self.proposals)

    @property
    def room(self) -> int:
        """How many more tokens may be proposed before the end of the row."""
        return self._limit - len(self.committed) - len(self.proposals)

    @property
    def closed(self) -> bool:
        """Whether nothing may follow the last proposal: the row is full, or the proposal is an end, or forbidden."""
        return self.room <= 0 or self._lost or bool(self.proposals and self.is_end(self.proposals[-1].token))

    def is_end(self, token: Token) -> bool:
        """Whether a token is known to end the text; one that is still on a device is not."""
        return isinstance(token, int) and token in self._ends

    def positions(self, free: bool = True) -> int:
        """Return how many open positions are of interest: those of proposals, and the one behind the last proposal.

        Nothing follows a proposed end, nor a proposal that the constraint forbids.

        Args:
            free: whether a token may be drawn behind the last proposal.
        """
        most = min(self.open + (free and not self._lost), self._limit - self.position)
        for offset, proposal in enumerate(self.proposals):
            if self.is_end(proposal.token):
                return min(most, offset + 1)
        return most

    def scored(self, member: int) -> int:
        """Return how many open positions the member has scored, from the first one on."""
        return len(self.said[member])

    def forced(self, offset: int) -> bool:
        """Whether the constraint forces the token at an open position."""
        return offset < len(self.proposals) and self.proposals[offset].proposer == FORCED

    def mask(self, offset: int) -> Tensor:
        """Return what the constraint allows at an open position: bool [V]."""
        return self._masks[offset]

    def units(self, first: int, end: int) -> list[Token]:
        """Return the generated tokens from index `first` up to `end`, open proposals included."""
        proposals = self.proposals[max(0, first - self.position) : max(0, end - self.position)]
        return [*self.committed[first:end], *(proposal.token for proposal in proposals)]

    def add_scores(self, member: int, scores: Scores) -> None:
        """Append what the member says at the next positions that it has not scored."""
        self.said[member].extend(Said(scores, index) for index in range(len(scores.logits)))

    def begin(self) -> list[Proposal]:
        """Let the constraint come to the first position; return what it forces there."""
        return self._arrive() if self.constraint is not None and not self._masks and not self.committed else []

    def propose(self, proposal: Proposal) -> list[Proposal]:
        """Append a proposal; return it with those that the constraint forces behind it.

        Raises:
            RequestError: the constraint allows no token at the next position, or forbids the one that it forces.
        """
        self.proposals.append(proposal)
        if self.constraint is None:
            return [proposal]
        self._lost = not self._allowed(int(proposal.token))
        return [proposal, *self._arrive()]

    def reveal(self, tokens: Sequence[int]) -> None:
        """The first proposals are these tokens; they may have been on a device so far."""
        shown = zip(self.proposals, tokens, strict=False)
        self.proposals[: len(tokens)] = [replace(proposal, token=token) for proposal, token in shown]

    def accept(self, count: int) -> None:
        """Commit the first `count` proposals, which are revealed; scores of later positions stay valid.

        Raises:
            RequestError: the constraint does not accept a token that its mask allows.
        """
        if self._lost and count == len(self.proposals):
            raise _contradiction(self.proposals[-1].token)
        self.committed.extend(int(proposal.token) for proposal in self.proposals[:count])
        for kept in self._open:
            del kept[:count]

    def replace(self, token: int) -> list[Proposal]:
        """Commit a token at the first open position; all that is proposed or scored there and later is void.

        Returns:
            The proposals that the constraint forces behind the token.
        """
        void = len(self.proposals) - self._lost
        self.committed.append(token)
        for kept in self._open:
            kept.clear()
        if self.constraint is None:
            return []
        self._lost = False
        if void:
            try:
                self.constraint.rollback(void)
            except Exception as error:  # a constraint of a user may raise anything
                raise named("the constraint", error) from error
        if self.is_end(token) or self.room <= 0:
            return []
        if not self._allowed(token):
            raise _contradiction(token)
        return self._arrive()

    def _allowed(self, token: int) -> bool:
        """Move the constraint behind a token; return whether it allows the token."""
        assert self.constraint is not None
        try:
            return self.constraint.accept(token)
        except Exception as error:  # a constraint of a user may raise anything
            raise named("the constraint", error) from error

    def _next(self) -> tuple[Tensor, int | None]:
        """Return what the constraint allows next, and the token that it forces."""
        assert self.constraint is not None
        try:
            mask, token = self.constraint.mask(), self.constraint.forced()
        except Exception as error:  # a constraint of a user may raise anything
            raise named("the constraint", error) from error
        return require_mask(mask, self._vocabulary), token

    def _arrive(self) -> list[Proposal]:
        """Keep the masks of the positions that the constraint has come to; propose what it forces there, and return it."""
        made: list[Proposal] = []
        while self.constraint is not None and not self.closed:
            position = self.position + self.open
            mask, token = self._next()
            if not bool(mask.any()):
                raise RequestError(f"the constraint allows no token behind generated token {position}")
            self._masks.append(mask)
            if token is None:
                break
            if not (0 <= token < len(mask) and bool(mask[token])) or not self._allowed(token):
                raise RequestError(
                    f"the constraint forces token {token} behind generated token {position}, which it forbids there"
                )
            made.append(Proposal(token, None, FORCED))
            self.proposals.append(made[-1])
        return made


def _contradiction(token: Token) -> RequestError:
    return RequestError(f"the constraint does not accept token {token}, which its mask allows")
