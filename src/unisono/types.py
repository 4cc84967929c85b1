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

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SHORT = reprlib.Repr()
SHORT.maxstring = 50

FinishReason = Literal["stop", "length"]
Origin = Literal["accepted", "redrawn", "drawn", "forced"]


@dataclass(frozen=True)
class Commit:
    """One token of the output and where it comes from.

    origin: "accepted", a proposal that was accepted; "redrawn", drawn in the place of a rejected proposal; "drawn", drawn
    from a target law where nothing was proposed; "forced", the only token that a constraint left. member: the index of the
    member that made the proposal; None if no member did. proposer: the name of the proposer that is no member, as "lookup".
    """

    token: int
    origin: Origin
    member: int | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # the most probable tokens here with their log-probabilities
    proposed: int | None = None  # the rejected proposal that a redrawn token replaces
    proposer: str | None = None

    @property
    def looked_up(self) -> bool:
        """Whether the token, or the rejected one that it replaces, was copied from the text so far."""
        return self.proposer == "lookup"


@dataclass
class MemberStats:
    """What one member did for one request.

    proposed: tokens that it proposed. decided, accepted: how many of them were verified, and stand; per position of the
    verified block they were in (0 is the first open position). lengths: `lengths[k]` is how often k of its proposals stood
    in a block. compiled: whether its short forwards are compiled, which rounds otherwise. seconds: the row's share of the
    wall time of its forwards; shares of all rows add up to all of it.
    """

    name: str
    compiled: bool = False
    forwards: int = 0
    proposed: int = 0
    decided_by_position: list[int] = field(default_factory=list)
    accepted_by_position: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def decided(self) -> int:
        return sum(self.decided_by_position)

    @property
    def accepted(self) -> int:
        return sum(self.accepted_by_position)

    def count(self, decided: Sequence[int], accepted: int) -> None:
        """Count a block: positions of this member's proposals that were decided, of which the first `accepted` stand."""
        for position in decided:
            _increase(self.decided_by_position, position)
        for position in decided[:accepted]:
            _increase(self.accepted_by_position, position)
        if decided:
            _increase(self.lengths, accepted)


def _increase(counts: list[int], index: int) -> None:
    counts.extend([0] * (index + 1 - len(counts)))
    counts[index] += 1


@dataclass
class Stats:
    """What one request cost. All counts end with the text: a token cut off behind it counts nowhere.

    members, proposers: what each member did, and each proposer that is no member. plans: turns by the schedule that `auto`
    followed in them. rounds: turns in which something was run and decided. seconds: wall time since the row was
    admitted, waiting for other rows included. outside: the row's share of the time that steps spent outside of forwards.
    """

    members: list[MemberStats] = field(default_factory=list)
    proposers: list[MemberStats] = field(default_factory=lambda: [MemberStats("lookup")])
    plans: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    rounds: int = 0
    seconds: float = 0.0
    outside: float = 0.0

    @property
    def lookup(self) -> MemberStats:
        """What was proposed from the text."""
        return self.of("lookup")

    def of(self, proposer: int | str) -> MemberStats:
        """Return the counts of a proposer: the index of a member, or a name."""
        if isinstance(proposer, int):
            return self.members[proposer]
        return next((each for each in self.proposers if each.name == proposer), MemberStats(proposer))

    def count(self, proposers: Sequence[int | str], accepted: int, tokens: int) -> None:
        """Count a verified block.

        Args:
            proposers: of each decided proposal; what a constraint forced counts for no proposer.
            accepted: how many of the first proposals were accepted.
            tokens: how many were committed; one more than `accepted` where a proposal was replaced, or a token was drawn
                behind the last one.
        """
        self.tokens += tokens
        for proposer in dict.fromkeys(proposers):
            decided = [position for position, each in enumerate(proposers) if each == proposer]
            self.of(proposer).count(decided, sum(position < accepted for position in decided))

    @property
    def verified(self) -> int:
        """Proposals that were decided."""
        return sum(each.decided for each in (*self.members, *self.proposers))

    @property
    def accepted(self) -> int:
        return sum(each.accepted for each in (*self.members, *self.proposers))

    @property
    def acceptance(self) -> float | None:
        """Share of the decided proposals that were accepted; None if nothing was proposed."""
        verified = self.verified
        return self.accepted / verified if verified else None

    @property
    def inside(self) -> float:
        """The row's share of the wall time of members' forwards."""
        return sum(member.seconds for member in self.members)

    @property
    def tokens_per_round(self) -> float:
        return self.tokens / max(1, self.rounds)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what was counted, and what follows from it."""
        members = [asdict(each) | {"decided": each.decided, "accepted": each.accepted} for each in self.members]
        derived = ("verified", "accepted", "acceptance", "inside", "tokens_per_round", "tokens_per_second")
        found = asdict(self) | {"members": members, "lookup": asdict(self.lookup)}
        return found | {name: getattr(self, name) for name in derived}


@dataclass(frozen=True, repr=False)
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
        None  # per token of the first member's prompt; None for the first
    )
    generation_config: Mapping[str, float] = field(default_factory=dict)  # its sampling values that the request has
    prompt: str | tuple[int, ...] = ()  # the text or the ids that were given; of a conversation, the first member's ids
    index: int = 0  # of the prompt in the call

    def __repr__(self) -> str:
        """Short: the ends of the text, and how it came about."""
        text, combination = map(SHORT.repr, (self.text, self.combination))
        tokens = f"tokens={len(self.token_ids)}, finish_reason={self.finish_reason!r}"
        return f"Result(text={text}, {tokens}, combination={combination}, seed={self.seed})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. A log-probability of minus infinity becomes None, because JSON has no infinity."""
        found: dict[str, Any] = _json(asdict(self) | {"stats": self.stats.as_dict()})
        return found

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


def _json(value: Any) -> Any:
    """The value with lists for tuples, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Piece:
    """What one committed token adds to the stream.

    `text` may be empty: half a character, or text that may still turn out to be a stop string, is held back. The last
    piece has no commit; it carries the text held back, the finish reason and the whole `result`.
    `token_text` is what the token adds to the text before a stop string is looked for; joined, these are the text
    without stop strings. The last piece's is a character that no token finished.
    """

    text: str
    commit: Commit | None = None
    finish_reason: FinishReason | None = None
    result: Result | None = None
    token_text: str = ""


@dataclass(frozen=True)
class Score:
    """Log-probabilities of a given continuation under the combined law (temperature 1, no truncation)."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    is_greedy: bool  # every token is the most probable one of the combination

    @property
    def total(self) -> float:
        return sum(self.logprobs)
