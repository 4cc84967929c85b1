"""A row's frontier: committed tokens, open proposals, the members' scores, and the state of the constraint.

Only this module changes the text and scores of a row. The frontier uses tokens and tensors, but no models or prompts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.decoding.proposals import FORCED, Proposal
from unisono.errors import RequestError, named
from unisono.members.base import Scores
from unisono.sampling.constraint import Constraint, require_mask
from unisono.transfer import Token

Place = tuple[Tensor, int]  # a tensor [N, V] that several positions share, and the index of a row in it


class Said:
    """The scores of one member at one open position, and the laws that were computed from these scores.

    A place is a tensor [N, V] and the index of a row in this tensor. logits: the place of the logits. law, raw: the
    places of the laws, or None before the laws are computed. These laws must not be changed.
    """

    __slots__ = ("index", "law", "logits", "raw", "scores")

    def __init__(self, scores: Scores, index: int, place: Place) -> None:
        self.scores, self.index, self.logits = scores, index, place
        self.law: Place | None = None
        self.raw: Place | None = None if scores.raw is None else (scores.raw, index)


def joined(places: Sequence[Place]) -> Tensor:
    """Return the rows at these places as one tensor [N, V]. Rows of one tensor at equal distances are not copied."""
    first = places[0][0]
    if all(base is first for base, _ in places):
        return _selected(first, [index for _, index in places])
    runs: list[tuple[Tensor, int, int]] = []  # rows of one tensor that follow each other: the tensor, start, end
    last, start, end = None, 0, 0
    for base, index in places:
        if base is last and index == end:
            end += 1
        else:
            if last is not None:
                runs.append((last, start, end))
            last, start, end = base, index, index + 1
    assert last is not None
    runs.append((last, start, end))
    pieces = [base if end - start == base.shape[0] else base[start:end] for base, start, end in runs]
    device = pieces[0].device
    return torch.cat([piece if piece.device == device else piece.to(device) for piece in pieces])


def _selected(base: Tensor, rows: list[int]) -> Tensor:
    """Return some rows of a tensor. If their distances are equal, return a view."""
    count, start = len(rows), rows[0]
    step = rows[1] - start if count > 1 else 1
    if step > 0 and rows[-1] == start + (count - 1) * step and rows == list(range(start, rows[-1] + 1, step)):
        return base if count == base.shape[0] else base[start : rows[-1] + 1 : step]
    return base.index_select(0, torch.tensor(rows, device=base.device))


def _place(scores: Scores) -> Place:
    """Return `scores.place` if it has the same memory as `scores.logits`, else the logits themselves."""
    if scores.place is not None:
        base, first = scores.place
        if scores.logits.data_ptr() == base.data_ptr() + first * base.stride(0) * base.element_size():
            return scores.place
    return scores.logits, 0


class Frontier:
    """The committed tokens and open positions of one row. Offset 0 is the first position that is not committed.

    Args:
        members: the number of members that score.
        limit: the maximum number of tokens of the row.
        ends: tokens that end the text.
        constraint: the row's own constraint. Its state includes all open proposals that the constraint allows.
        vocabulary: the size of the constraint's masks.
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
        self.said: list[list[Said]] = [[] for _ in range(members)]  # for each member, its scores at the open positions
        self.constraint = constraint
        self._masks: list[Tensor] = []  # for each open position that the constraint has reached
        self._lost = False  # whether the constraint forbids the last proposal
        self._open: tuple[list[Any], ...] = (self.proposals, self._masks, *self.said)  # one entry per position
        self._limit, self._ends, self._vocabulary = limit, ends, vocabulary

    @property
    def position(self) -> int:
        """The index of the first open position among the generated tokens."""
        return len(self.committed)

    @property
    def open(self) -> int:
        """The number of proposals. The position after the last proposal is open too, but has no proposal."""
        return len(self.proposals)

    @property
    def room(self) -> int:
        """The number of tokens that may still be proposed before the row reaches its token limit."""
        return self._limit - len(self.committed) - len(self.proposals)

    @property
    def closed(self) -> bool:
        """Whether no token can follow, because the row is full or the last proposal is an end token or forbidden."""
        return self.room <= 0 or self._lost or bool(self.proposals and self.is_end(self.proposals[-1].token))

    def is_end(self, token: Token) -> bool:
        """Return whether a token ends the text. Return False for a token on a device, because its id is unknown."""
        return isinstance(token, int) and token in self._ends

    def positions(self, free: bool = True) -> int:
        """Return how many open positions need scores: the positions of the proposals and the position after them.

        Positions after a proposed end token, or after a proposal that the constraint forbids, are not counted.

        Args:
            free: whether a token may be drawn after the last proposal.
        """
        most = min(len(self.proposals) + (free and not self._lost), self._limit - len(self.committed))
        for offset, proposal in enumerate(self.proposals):
            if self.is_end(proposal.token):
                return min(most, offset + 1)
        return most

    def scored(self, member: int) -> int:
        """Return the number of open positions that the member has scored. They are the first open positions."""
        return len(self.said[member])

    def forced(self, offset: int) -> bool:
        """Return whether the constraint forces the token at an open position."""
        return offset < len(self.proposals) and self.proposals[offset].proposer == FORCED

    def mask(self, offset: int) -> Tensor:
        """Return the mask of an open position: a bool tensor [V], true for tokens that the constraint allows."""
        return self._masks[offset]

    def units(self, first: int, end: int) -> list[Token]:
        """Return the generated tokens from index `first` up to `end`, open proposals included."""
        position = len(self.committed)
        proposals = self.proposals[max(0, first - position) : max(0, end - position)]
        return [*self.committed[first:end], *[proposal.token for proposal in proposals]]

    def add_scores(self, member: int, scores: Scores) -> None:
        """Append the member's scores at the first open positions that the member has not scored."""
        count = scores.logits.shape[0]
        base, first = _place(scores) if count else (scores.logits, 0)
        self.said[member].extend([Said(scores, index, (base, first + index)) for index in range(count)])

    def begin(self) -> list[Proposal]:
        """Read the constraint's mask at the first position. Return proposals of the tokens that are forced there."""
        return self._arrive() if self.constraint is not None and not self._masks and not self.committed else []

    def propose(self, proposal: Proposal) -> list[Proposal]:
        """Append a proposal. Return this proposal, followed by proposals of the tokens that the constraint forces next.

        Raises:
            RequestError: the constraint allows no token at the next position, or forces a token that it forbids.
        """
        self.proposals.append(proposal)
        if self.constraint is None:
            return [proposal]
        self._lost = not self._allowed(int(proposal.token))
        return [proposal, *self._arrive()]

    def reveal(self, tokens: Sequence[int]) -> None:
        """Set the tokens of the first proposals to `tokens`. These are the same tokens, copied to the host."""
        for place, token in enumerate(tokens):
            proposal = self.proposals[place]
            if proposal.token is not token:  # it was on a device
                self.proposals[place] = Proposal(token, proposal.law, proposal.proposer)

    def accept(self, count: int) -> None:
        """Commit the first `count` proposals. Their tokens must be on the host. Scores of later positions stay valid.

        Raises:
            RequestError: the constraint does not accept a token that its mask allows.
        """
        if self._lost and count == len(self.proposals):
            raise _contradiction(self.proposals[-1].token)
        if count:
            self.committed.extend([int(proposal.token) for proposal in self.proposals[:count]])
            for kept in self._open:
                del kept[:count]

    def replace(self, token: int) -> list[Proposal]:
        """Commit a token at the first open position. Discard all proposals and scores.

        Returns:
            Proposals of the tokens that the constraint forces after the token.
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
            except Exception as error:  # a user-defined constraint may raise anything
                raise named("the constraint", error) from error
        if self.is_end(token) or self.room <= 0:
            return []
        if not self._allowed(token):
            raise _contradiction(token)
        return self._arrive()

    def _allowed(self, token: int) -> bool:
        assert self.constraint is not None
        try:
            return self.constraint.accept(token)
        except Exception as error:  # a user-defined constraint may raise anything
            raise named("the constraint", error) from error

    def _next(self) -> tuple[Tensor, int | None]:
        """Return the constraint's mask for the next token, and the token that the constraint forces or None."""
        assert self.constraint is not None
        try:
            mask, token = self.constraint.mask(), self.constraint.forced()
        except Exception as error:  # a user-defined constraint may raise anything
            raise named("the constraint", error) from error
        return require_mask(mask, self._vocabulary), token

    def _arrive(self) -> list[Proposal]:
        """Propose the tokens that the constraint forces next. Store the constraint's masks. Return the proposals."""
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
