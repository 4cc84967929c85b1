"""Frozen values that travel through the library, and the words it uses.

member        a language model with its cache; scores tokens and can be rolled back
law           a probability vector over the common vocabulary
warp          logits -> law: temperature, top-k, top-p, min-p
combination   what the members say at a position -> the target law there
proposal      an uncommitted token and the very law it was drawn from
frontier      a row's open proposals and each member's scores on them
schedule      looks at a frontier; says which member runs next and how many tokens it proposes
verification  decides proposals whose target law is known
round         one member runs, what can be decided is decided, the member may propose
row           one running sequence
position      index of a *generated* token, from 0

Tensor shapes in comments and docstrings: M members, K open positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length"]
Origin = Literal["accepted", "redrawn", "drawn"]


@dataclass(frozen=True)
class Commit:
    """One token of the output and how it came about.

    `member` proposed the token (`origin` "accepted") or the proposal it replaces ("redrawn"); None for a token drawn
    from a target law that was known before anything was proposed ("drawn").
    """

    token: int
    origin: Origin
    member: int | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # the most probable tokens here with their log-probabilities


@dataclass
class MemberStats:
    """What one member did for one request. `seconds` is the wall time of its forwards."""

    name: str
    forwards: int = 0
    proposed: int = 0
    accepted: int = 0
    seconds: float = 0.0


@dataclass
class Stats:
    """What one request cost. `rounds` counts the turns in which something was run and decided."""

    members: list[MemberStats] = field(default_factory=list)
    tokens: int = 0
    rounds: int = 0
    verified: int = 0  # proposals that were decided
    seconds: float = 0.0

    @property
    def accepted(self) -> int:
        return sum(member.accepted for member in self.members)

    @property
    def acceptance(self) -> float | None:
        """Share of the decided proposals that were accepted; None if nothing was proposed."""
        return self.accepted / self.verified if self.verified else None

    def drop(self, commits: Sequence[Commit]) -> None:
        """Take back tokens that were committed behind the end of the text, so that all counters agree with it."""
        self.tokens -= len(commits)
        for commit in commits:
            if commit.member is not None:
                self.verified -= 1
                self.members[commit.member].accepted -= commit.origin == "accepted"

    @property
    def tokens_per_round(self) -> float:
        return self.tokens / max(1, self.rounds)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Result:
    """A finished request. `commits` has one entry per entry of `token_ids`."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    commits: tuple[Commit, ...]
    stats: Stats
    seed: int
    combination: str
    schedule: str
    verification: str
    sample: int = 0  # which of the `n` samples of its prompt
    prompt_logprobs: tuple[float | None, ...] | None = (
        None  # one per token of the first member's prompt; None for the first
    )

    @property
    def logprobs(self) -> list[float] | None:
        """One log-probability per token, or None if they were not asked for."""
        values = [commit.logprob for commit in self.commits if commit.logprob is not None]
        return values if len(values) == len(self.token_ids) and values else None

    @property
    def top_logprobs(self) -> list[dict[int, float]] | None:
        """Per token, log-probabilities of the most probable ids there, or None if they were not asked for."""
        found = [dict(commit.top) for commit in self.commits]
        return found if any(found) else None


@dataclass(frozen=True)
class Piece:
    """What one committed token adds to the stream.

    `text` may be empty: half a character, or text that may still turn out to be a stop string, is held back. The last
    piece has no commit; it carries the text held back, the finish reason and the whole `result`.
    """

    text: str
    commit: Commit | None = None
    finish_reason: FinishReason | None = None
    result: Result | None = None


@dataclass(frozen=True)
class Score:
    """Log-probabilities of a given continuation under the combined law (temperature 1, no truncation)."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    is_greedy: bool  # every token is the most probable one of the combination

    @property
    def total(self) -> float:
        return sum(self.logprobs)
