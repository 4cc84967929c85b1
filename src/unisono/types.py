"""The values that requests return, and a glossary.

member        a language model with its KV cache; scores tokens and can be rolled back
law           a probability vector over the common vocabulary
warp          turns logits into a law: temperature, top-k, top-p, min-p
combination   turns the scores of the members at a position into the target law of the position
proposal      a token that is not committed yet, with the law that it was drawn from
frontier      the open proposals of a row, and the scores of each member at the positions of these proposals
schedule      decides from the frontier which member runs next and how many tokens the member proposes
verification  accepts or rejects proposals whose target law is known
round         one step of a row: a member runs, proposals with known target laws are decided, the member may propose
row           one running sequence
position      index of a *generated* token, from 0

Tensor shapes in comments and docstrings: M members, K open positions, V vocabulary.
"""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from unisono.frozen import quick

SHORT = reprlib.Repr()
SHORT.maxstring = 50

FinishReason = Literal["stop", "length"]
Origin = Literal["accepted", "redrawn", "drawn", "forced"]


@quick
@dataclass(frozen=True)
class Commit:
    """One token of the output, and how the token was chosen.

    origin: "accepted" for an accepted proposal; "redrawn" for a token that replaces a rejected proposal; "drawn" for a
    token that was drawn from the target law at a position without a proposal; "forced" for the only token that a
    constraint allowed. member: the index of the member that made the proposal; None if no member made a proposal.
    proposer: the name of the proposer, for example "lookup", if the proposer is not a member; else None.
    """

    token: int
    origin: Origin
    member: int | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # the most probable tokens at this position, with log-probabilities
    proposed: int | None = None  # the rejected proposal that a redrawn token replaces
    proposer: str | None = None

    @property
    def looked_up(self) -> bool:
        """Whether the token, or the rejected proposal that the token replaces, was copied from earlier text."""
        return self.proposer == "lookup"


@dataclass
class MemberStats:
    """Counts and times of one member for one request.

    compiled: whether short forward passes of the member are compiled. Compiling changes rounding. forwards: number of
    forward passes. proposed: number of tokens that the member proposed. decided_by_position: how many of these tokens
    were verified, for each position in a verified block. Position 0 is the first open position. accepted_by_position:
    how many of these tokens were accepted, for each position. lengths: `lengths[k]` is the number of blocks in which k
    of the member's proposals were accepted. seconds: the wall time of the member's forward passes. The time
    of a forward pass for several requests is divided among these requests.
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
        """Count the member's proposals in a verified block.

        Args:
            decided: the positions of the member's decided proposals in the block.
            accepted: how many of these proposals were accepted. They are the first ones.
        """
        for position in decided:
            _increase(self.decided_by_position, position)
        for position in decided[:accepted]:
            _increase(self.accepted_by_position, position)
        if decided:
            _increase(self.lengths, accepted)


def _increase(counts: list[int], index: int) -> None:
    if index >= len(counts):
        counts.extend([0] * (index + 1 - len(counts)))
    counts[index] += 1


@dataclass
class Stats:
    """Counts and times of one request. Tokens that are cut off after the end of the text are not counted.

    members: counts of each member. proposers: counts of each proposer that is not a member. plans: for each schedule
    that the schedule `auto` followed, the number of turns. tokens: number of output tokens. rounds: number of turns in
    which a member ran and positions were decided. seconds: wall time since the request's row was admitted, including
    waits for other rows. outside: seconds outside of forward passes, divided among the rows that run together.
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
        """The counts of proposals that were copied from earlier text."""
        return self.of("lookup")

    def of(self, proposer: int | str) -> MemberStats:
        """Return the counts of a proposer: the index of a member, or the name of a proposer that is not a member."""
        if isinstance(proposer, int):
            return self.members[proposer]
        return next((each for each in self.proposers if each.name == proposer), MemberStats(proposer))

    def count(self, proposers: Sequence[int | str], accepted: int, tokens: int) -> None:
        """Count a verified block.

        Args:
            proposers: for each decided proposal, its proposer. Tokens that a constraint forced count for no proposer.
            accepted: how many proposals were accepted. They are the first ones.
            tokens: how many tokens were committed. This is `accepted`, plus one if a rejected proposal was replaced or
                a token was drawn after the last proposal.
        """
        self.tokens += tokens
        places: dict[int | str, list[int]] = {}
        for position, proposer in enumerate(proposers):
            places.setdefault(proposer, []).append(position)
        for proposer, decided in places.items():
            self.of(proposer).count(decided, len([position for position in decided if position < accepted]))

    @property
    def verified(self) -> int:
        """The number of proposals that were decided."""
        return sum(each.decided for each in (*self.members, *self.proposers))

    @property
    def accepted(self) -> int:
        return sum(each.accepted for each in (*self.members, *self.proposers))

    @property
    def acceptance(self) -> float | None:
        """The share of decided proposals that were accepted; None if no proposal was decided."""
        verified = self.verified
        return self.accepted / verified if verified else None

    @property
    def inside(self) -> float:
        """The seconds of all members' forward passes: the sum over `members` of the field `seconds`."""
        return sum(member.seconds for member in self.members)

    @property
    def tokens_per_round(self) -> float:
        return self.tokens / max(1, self.rounds)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return all counts, times and derived values as a mapping that can be written as JSON."""
        members = [asdict(each) | {"decided": each.decided, "accepted": each.accepted} for each in self.members]
        derived = ("verified", "accepted", "acceptance", "inside", "tokens_per_round", "tokens_per_second")
        found = asdict(self) | {"members": members, "lookup": asdict(self.lookup)}
        return found | {name: getattr(self, name) for name in derived}


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a finished request. `commits` has one `Commit` per token in `token_ids`."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    commits: tuple[Commit, ...]
    stats: Stats
    seed: int
    combination: str
    schedule: str
    verification: str
    sample: int = 0  # index among the `n` samples of the prompt
    prompt_logprobs: tuple[float | None, ...] | None = None  # per token of the first member's prompt; first: None
    generation_config: Mapping[str, float] = field(default_factory=dict)  # sampling values that were used from it
    prompt: str | tuple[int, ...] = ()  # the given text or ids; for a conversation, the ids of the first member
    index: int = 0  # index of the prompt in the call

    def __repr__(self) -> str:
        """Return a short text with the ends of the output, number of tokens, finish reason, combination and seed."""
        text, combination = map(SHORT.repr, (self.text, self.combination))
        tokens = f"tokens={len(self.token_ids)}, finish_reason={self.finish_reason!r}"
        return f"Result(text={text}, {tokens}, combination={combination}, seed={self.seed})"

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping that can be written as JSON. A log-probability of minus infinity becomes None."""
        found: dict[str, Any] = _json(asdict(self) | {"stats": self.stats.as_dict()})
        return found

    @property
    def logprobs(self) -> list[float] | None:
        """The log-probability of each token, or None if log-probabilities were not requested."""
        values = [commit.logprob for commit in self.commits if commit.logprob is not None]
        return values if len(values) == len(self.token_ids) and values else None

    @property
    def top_logprobs(self) -> list[dict[int, float]] | None:
        """For each token, the most probable ids at its position: id -> log-probability. None if not requested."""
        found = [dict(commit.top) for commit in self.commits]
        return found if any(found) else None


def _json(value: Any) -> Any:
    """Return the value with lists in place of tuples and None in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@quick
@dataclass(frozen=True)
class Piece:
    """The part of a stream that one committed token adds.

    text: the text that can be shown now. It may be empty, because an incomplete character and a possible beginning of a
    stop string are held back. token_text: the text that the token adds if stop strings are ignored. The last piece of a
    stream has `finish_reason` and `result`, but no commit. The `text` of the last piece is the text that was held back.
    The `token_text` of the last piece is an incomplete character at the end of the text, if there is one.
    """

    text: str
    commit: Commit | None = None
    finish_reason: FinishReason | None = None
    result: Result | None = None
    token_text: str = ""


@dataclass(frozen=True)
class Score:
    """Log-probabilities of a given continuation under the combination's law at temperature 1 without truncation."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    is_greedy: bool  # every token is the most probable one of the combination

    @property
    def total(self) -> float:
        return sum(self.logprobs)
