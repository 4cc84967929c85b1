"""A row's frontier: what is committed, what is proposed, and what each member has scored of it.

The only mutable state of decoding besides the members' caches. It knows units and tensors, neither models nor prompts: a
row feeds members with `units`, and the engine puts what they say into `add_scores`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unisono.members.base import Scores
from unisono.transfer import Token


@dataclass(frozen=True)
class Proposal:
    """An uncommitted token, the very law [V] it was drawn from, and the member that drew it; None if it was looked up.

    trust: what a pilot tells proposals apart by, to learn how often they stand.
    """

    token: Token
    law: Tensor
    member: int | None
    trust: object = None


class Frontier:
    """Open positions of one row, counted from the first one that is not committed.

    Args:
        members: how many score and propose.
    """

    def __init__(self, members: int) -> None:
        self.committed: list[int] = []
        self.proposals: list[Proposal] = []
        # Per member, [V] for each position it has scored
        self._scores: list[list[Tensor]] = [[] for _ in range(members)]
        self._raw: dict[int, list[Tensor]] = {}  # the same laws without a warp, of members that warp by themselves
        self._like = torch.empty(0)  # scores of any position, for tensors like them

    @property
    def position(self) -> int:
        """Index of the first open position among the generated tokens."""
        return len(self.committed)

    @property
    def open(self) -> int:
        """How many proposals there are; the position behind the last one is open too, but has none."""
        return len(self.proposals)

    def scored(self, member: int) -> int:
        """How many open positions the member has scored, from the first on."""
        return len(self._scores[member])

    def scores(self, member: int, count: int) -> list[Tensor]:
        """The member's logits [V] at each of the first `count` open positions."""
        return self._scores[member][:count]

    def raw(self, member: int, count: int) -> list[Tensor] | None:
        """The member's laws [V] without a warp at the first `count` open positions; None if its scores have them."""
        return self._raw[member][:count] if member in self._raw else None

    def law_source(self, member: int) -> Tensor:
        """The member's logits [V] at the position behind the last proposal."""
        return self._scores[member][self.open]

    def units(self, first: int, end: int) -> list[Token]:
        """The generated units from index `first` up to `end`, open proposals included."""
        proposals = self.proposals[max(0, first - self.position) : max(0, end - self.position)]
        return [*self.committed[first:end], *(proposal.token for proposal in proposals)]

    def add_scores(self, member: int, scores: Scores) -> None:
        """Append what the member says at the next positions that it has not scored."""
        self._scores[member].extend(scores.logits.unbind(0))
        if scores.raw is not None:
            self._raw.setdefault(member, []).extend(scores.raw.unbind(0))
        if len(scores.logits):
            self._like = scores.logits

    def propose(self, proposal: Proposal) -> None:
        self.proposals.append(proposal)

    def propose_certain(self, tokens: Sequence[int], trust: object = None) -> None:
        """Propose tokens that nobody drew: each law is one-hot. Some position must have been scored before."""
        laws = self._like.new_zeros(len(tokens), self._like.shape[-1])
        laws.scatter_(-1, torch.tensor(tokens, device=laws.device).unsqueeze(-1), 1.0)
        for token, law in zip(tokens, laws, strict=True):
            self.propose(Proposal(token, law, None, trust))

    def reveal(self, tokens: Sequence[int]) -> None:
        """The first proposals are these tokens; they may have been on a device so far."""
        shown = zip(self.proposals, tokens, strict=False)
        self.proposals[: len(tokens)] = [replace(proposal, token=token) for proposal, token in shown]

    def accept(self, count: int) -> list[Proposal]:
        """Commit the first `count` proposals, which are revealed; scores of later positions stay valid."""
        accepted, self.proposals = self.proposals[:count], self.proposals[count:]
        self.committed.extend(int(proposal.token) for proposal in accepted)
        for scores in (*self._scores, *self._raw.values()):
            del scores[:count]
        return accepted

    def replace(self, token: int) -> None:
        """Commit a token at the first open position; everything proposed or scored there and later is void."""
        self.committed.append(token)
        self.proposals.clear()
        for scores in (*self._scores, *self._raw.values()):
            scores.clear()
