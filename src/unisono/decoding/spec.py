"""The method and the task of a row, and the decisions about its proposals."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from unisono.combine.base import Combination
from unisono.decoding.policy import Schedule
from unisono.decoding.verification import Verification
from unisono.frozen import quick
from unisono.members.base import Context
from unisono.sampling.constraint import Constraint
from unisono.sampling.logits_edits import Edits
from unisono.sampling.warp import Warp


@dataclass(frozen=True)
class Method:
    """The combination, schedule and verification with which a row is decoded.

    proposer: the member that proposes by default. peers: the members that are equally good proposers, including the
    default proposer; empty if the default proposer is the only one.
    """

    combination: Combination
    schedule: Schedule
    verification: Verification
    proposer: int
    peers: tuple[int, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """The names of combination, schedule and verification, as a user writes them."""
        return {name: getattr(self, name).name for name in ("combination", "schedule", "verification")}


@dataclass(frozen=True)
class Task:
    """The work of one row.

    contexts: for each member, the context that it reads before the text. limit: the maximum number of tokens to commit.
    ends: tokens that end the text. edits: changes of the logits before the warp. logprobs: how many of the most
    probable tokens to report with their log-probabilities, in addition to each committed token; None for no report.
    processed: whether to report the law that tokens are drawn from, instead of the combination at temperature 1 without
    edits and truncation. given: the tokens to score. If `given` is not empty, all these tokens are committed.
    prefix: the number of tokens at the beginning of the first member's context that are not part of the prompt.
    constraint: a constraint in its state before the first token; each row uses a copy. prompt_loglikelihood: one
    sequence per member with the raw log-probabilities of the tokens of the member's prompt, except the first token. It
    is filled before a row starts. It is empty if the combination does not read it.
    """

    contexts: tuple[Context, ...]
    warp: Warp
    limit: int
    ends: frozenset[int] = frozenset()
    edits: Edits = field(default_factory=Edits)
    logprobs: int | None = None
    processed: bool = False
    given: tuple[int, ...] = ()
    prefix: int = 0
    constraint: Constraint | None = None
    prompt_loglikelihood: tuple[Sequence[float], ...] = ()

    @property
    def prompt(self) -> tuple[int, ...]:
        """The token ids of the prompt, for penalties and look-ups."""
        return self.contexts[0].tokens[self.prefix :]


@quick
@dataclass(frozen=True)
class Settled:
    """The decisions about a block.

    tokens: the proposed tokens. The first `accepted` of these tokens are accepted. follows: the token that was drawn
    after the accepted proposals, or None. lawless: whether the target law of `follows` has no possible token. logprobs:
    for each committed token, its log-probability, and pairs (token, log-probability) of the most probable tokens.
    measured: one list per member, with one pair per committed position that the member has scored. The pair is the
    overlap of the member's law with the target, and the largest probability in the member's law. Empty if not measured.
    likelihoods: one list per member, with the member's raw log-probability of each committed token. Empty if the
    combination does not read these log-probabilities.
    """

    tokens: Sequence[int]
    accepted: int
    follows: int | None = None
    lawless: bool = False
    logprobs: Sequence[tuple[float, tuple[tuple[int, float], ...]]] = ()
    measured: Sequence[Sequence[tuple[float, float]]] = ()
    likelihoods: Sequence[Sequence[float]] = ()

    @property
    def committed(self) -> int:
        return self.accepted + (self.follows is not None)
