"""Proposals and drafts: tokens that wait for a decision, and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unisono.members.base import Scores
from unisono.transfer import Token

FORCED = "forced"  # the proposer of a token that the row's constraint forces
Name = int | str  # of a proposer: the index of a member that proposes step by step, or the name of another proposer


@dataclass(frozen=True)
class Proposal:
    """An uncommitted token.

    law: [V], what the token was drawn from; None if the token is to be treated as given, as one that was looked up, and
    every one at temperature 0. Treating a token as given is exact, however it was chosen.
    """

    token: Token
    law: Tensor | None
    proposer: Name


@dataclass(frozen=True)
class Draft:
    """Tokens that a proposer proposes for one row, behind the row's last proposal.

    laws: one per token, see `Proposal`. The second token's law is the one given the first token. proposer: who it was.
    steps: how many of its steps this took; a turn counts steps, limits count tokens. scores: from a member that has scored
    its own tokens on the way, the scores behind each token but the last. forwards, seconds: what the member ran for it.
    """

    tokens: Sequence[Token]
    laws: Sequence[Tensor | None]
    proposer: Name
    steps: int = 1
    scores: Scores | None = None
    forwards: int = 0
    seconds: float = 0.0
