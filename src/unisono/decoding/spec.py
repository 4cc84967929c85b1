"""What a row is given: how to decode, what to decode, and what was decided about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from unisono.combine.base import Combination
from unisono.decoding.policy import Schedule
from unisono.decoding.verification import Verification
from unisono.members.base import Context
from unisono.sampling.constraint import Constraint
from unisono.sampling.logits_edits import Edits
from unisono.sampling.warp import Warp


@dataclass(frozen=True)
class Method:
    """How a row is decoded: what it follows, who runs when, how proposals are decided.

    proposer: the member that proposes by default. peers: members as good at it, itself included, if there are others.
    """

    combination: Combination
    schedule: Schedule
    verification: Verification
    proposer: int
    peers: tuple[int, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """How a user would write the three."""
        return {name: getattr(self, name).name for name in ("combination", "schedule", "verification")}


@dataclass(frozen=True)
class Task:
    """What one row is to decode.

    contexts: per member, what it reads before the text. limit: the most tokens to commit; nothing is scored or
    proposed beyond. ends: tokens behind which nothing is worth proposing. edits: of the logits before the warp.
    logprobs: report that with each token, and of how many of the most probable ones; None for no report. processed:
    of the law that tokens are drawn from, instead of the combination at temperature 1 without edits and truncation.
    given: if not empty, the tokens to commit, whatever their laws: they are to be scored, under the verification `given`.
    prefix: how many tokens at the beginning of the first member's context are no part of the prompt, but its own.
    constraint: what may follow, in its state before the first token; each row moves a copy. prompt_loglikelihood: per
    member, its raw log-probability of each token of its own prompt behind the first one, where the combination reads that;
    the lists are filled before a row of the task starts.
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
        """What the text begins with, in units of the law, for penalties and look-ups."""
        return self.contexts[0].tokens[self.prefix :]


@dataclass(frozen=True)
class Settled:
    """What was decided about a block.

    tokens: its proposals. accepted: how many of the first ones are accepted. follows: the token behind these, if one was
    drawn. lawless: its target law was none. logprobs: of each committed token, with the most probable ones there. measured:
    per member, [overlap with the target, largest probability] of its law at each committed position that it has scored;
    empty if that was not measured. likelihoods: per member, its raw log-probability of each committed token; empty if the
    combination does not read that.
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
        """How many tokens were decided."""
        return self.accepted + (self.follows is not None)
