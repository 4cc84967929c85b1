"""A seat: a row as its proposers see it, and the laws that the row's policy sees before a proposal is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.decoding.laws import KeptScores, Span, cells
from unisono.decoding.policy import MemberLaws, Policy
from unisono.decoding.prompt_lookup import Lookup
from unisono.decoding.proposals import Name, Proposal
from unisono.decoding.row import Row
from unisono.errors import ConfigurationError, UnisonoError
from unisono.frozen import quick
from unisono.sampling.noise import Purpose
from unisono.sampling.sampler import draw
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class GivenLaw:
    """A law from which a user-defined proposer wants to draw. The row's policy receives this object."""

    law: Tensor
    raw: Tensor


class OwnLaw:
    """The laws of one member at one position, read from scores that cover several rows."""

    def __init__(self, kept: KeptScores, index: int) -> None:
        self._kept, self._index = kept, index

    @property
    def law(self) -> Tensor:
        return self._kept.law[self._index]

    @property
    def raw(self) -> Tensor:
        return self._kept.raw[self._index]


@quick
@dataclass(frozen=True, eq=False)
class Seat:
    """A read-only view of one row. A proposer uses the view to propose tokens after the row's last proposal.

    proposer: the proposer's own name. steps: how many steps the proposer may take. choices: the random choices of this
    call, as pairs of a law and the chosen index. before: the random choices of an earlier call that failed. This call
    must make the same choices again.
    """

    row: Row
    proposer: Name
    steps: int
    choices: list[tuple[Tensor, int]]
    before: Sequence[tuple[Tensor, int]] = ()

    @property
    def tokens(self) -> list[int]:
        """The token ids of the prompt, the committed text and the open proposals. The property waits for the device."""
        return [*self.row.task.prompt, *self.row.frontier.committed, *self.open_tokens]

    @property
    def open_tokens(self) -> list[int]:
        """The token ids of the open proposals. The property waits for the device."""
        return [int(proposal.token) for proposal in self.open]

    @property
    def open(self) -> Sequence[Proposal]:
        return self.row.frontier.proposals

    @property
    def room(self) -> int:
        """The number of tokens that may still be proposed before the row reaches its token limit."""
        return self.row.frontier.room

    @property
    def text(self) -> Lookup:
        return self.row.text

    @property
    def warp(self) -> AnyWarp:
        """The function that turns logits [1, V] at the next position into a law."""
        return self.row.laws.warp([self.row.frontier.open])

    def scores(self, member: int) -> KeptScores | None:
        """Return a member's scores at the position after the row's last proposal.

        The fields `logits`, `law` and `raw` of the scores are tensors [1, V]. Return None if the member has not scored
        this position.
        """
        if self.row.frontier.scored(member) <= self.row.frontier.open:
            return None
        return KeptScores(cells([Span(self.row.laws, [self.row.frontier.open])], member))

    def willing(self, scores: MemberLaws) -> bool:
        """Return whether the row's policy allows drawing a proposal from these laws."""
        return bool(self._answer(lambda policy: policy.draws(self.open, self.proposer, scores)))

    def copies(self, run: int) -> int:
        """Return the maximum number of tokens to copy. The last `run` tokens of the text also occur earlier in it."""
        return self._answer(lambda policy: max(0, policy.copies(self.open, run)))

    def goes_on(self) -> bool:
        """Return whether the row's policy wants another step of the proposer."""
        return bool(self._answer(lambda policy: policy.goes_on(self.open, self.proposer)))

    def _answer(self, ask: Callable[[Policy], int]) -> int:
        """Return the result of `ask` for the row's policy. If `ask` raises an error, end only this row and return 0."""
        try:
            return self.row.asked(ask)
        except UnisonoError as error:
            self.row.fail(error)
            return 0

    def draw(self, law: Tensor, behind: int = 0) -> int | None:
        """Return a token drawn from `law` [V]. Return None if the row's policy does not allow the proposal.

        Under the verification `coupled`, the draw uses the same noise as the draw from the target law.

        Args:
            behind: the number of earlier tokens in the same draft.
        """
        if not self.willing(GivenLaw(law, law)):
            return None
        purpose = self.row.method.verification.proposing
        return self._choose(law, purpose, self.row.frontier.open + behind)

    def pick(self, law: Tensor) -> int:
        """Return an index drawn from `law` [N], for example of token pairs. Allowed once per position and round."""
        return self._choose(law, Purpose.PICK, self.row.frontier.open)

    def _choose(self, law: Tensor, purpose: Purpose, offset: int) -> int:
        """Return an index drawn from a law. Use the choices in `before` first: a noise key may be used only once."""
        if len(self.choices) < len(self.before):
            given, chosen = self.before[len(self.choices)]
            if not torch.equal(law, given):
                raise ConfigurationError(f"proposer {self.proposer} chose by another law when it was asked again")
        else:
            chosen = int(draw(law.unsqueeze(0), purpose, [self.row.names(offset)]))
        self.choices.append((law, chosen))
        return chosen
