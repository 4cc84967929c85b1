"""Proposals and drafts: tokens that are not yet accepted or rejected, with their proposers and laws."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unisono.frozen import quick
from unisono.transfer import Token

FORCED = "forced"  # the proposer of a token that the row's constraint forces
Name = int | str  # a proposer: the index of a member that proposes step by step, or the name of another proposer


@quick
@dataclass(frozen=True)
class Proposal:
    """An uncommitted token.

    law: [V], the law that the token was drawn from. None means a given token: a looked-up token, or any token at
    temperature 0. Verification treats the law of a given token as one-hot, which is always exact.
    """

    token: Token
    law: Tensor | None
    proposer: Name


@quick
@dataclass(frozen=True)
class Draft:
    """Tokens that a proposer proposes for one row, after the row's last proposal.

    laws: one law per token (see `Proposal`). Each law is conditional on the earlier tokens of the draft. steps: how
    many steps of the turn the draft uses. A draft may have more tokens than steps.
    """

    tokens: Sequence[Token]
    laws: Sequence[Tensor | None]
    proposer: Name
    steps: int = 1
