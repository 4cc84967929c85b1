"""What the playground shows of a request: what each member said at each token, and who ran when.

An `Observed` combination keeps the logits of its last call, which belong to the tokens that are committed in the same step.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.combine.base import Combination, Logits
from unisono.row import Row
from unisono.server.tokens import token_text
from unisono.types import Commit
from unisono.warp import AnyWarp, Warp


class Observed:
    """Mixed into a combination's own class: it remembers what it was last asked, and equals no other.

    So its rows are combined alone, and whatever else the combination can do, it still can.
    """

    inner: Combination
    logits: list[Tensor]

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        # The call may change what it is given; a member that stands in for another stays the same tensor
        copies = {id(member): member.clone() for member in logits}
        self.__dict__["logits"] = [copies[id(member)] for member in logits]
        return self.inner(logits, warp)

    @classmethod
    def of(cls, combination: Combination) -> Any:
        """The combination, observed."""
        kind = type(combination)
        seen: Any = object.__new__(type(kind.__name__, (cls, kind), {}))
        seen.__dict__.update(vars(combination), inner=combination, logits=[])
        return seen


@dataclass(frozen=True)
class Turn:
    """One step of a row: who ran, from when to when (milliseconds since the request came), and what came of it."""

    start_ms: float
    end_ms: float
    forwards: tuple[int, ...]  # per member
    proposed: tuple[int, ...]
    accepted: int
    committed: int


class Observer:
    """Watches one row.

    Args:
        candidates: how many of the most probable tokens to tell of each position.
        since: when the request came, as `time.perf_counter` tells.
    """

    def __init__(self, tokenizer: Any, combination: Any, members: int, candidates: int, since: float) -> None:
        self._tokenizer = tokenizer
        self._combination = combination
        self._needed: tuple[int, ...] = combination.needed(members)
        self._members = members
        self._candidates = candidates
        self._since = since
        self._before = ((0,) * members, (0,) * members)

    def look(self, row: Row, commits: Sequence[Commit], start: float, end: float) -> dict[str, Any]:
        """What the last step did: the `unisono` field of a chunk; empty if the row did nothing.

        Args:
            start: of the step. end: of the step.
        """
        now = (
            tuple(member.forwards for member in row.stats.members),
            tuple(member.proposed for member in row.stats.members),
        )
        ran, proposed = (
            tuple(a - b for a, b in zip(*pair, strict=True)) for pair in zip(now, self._before, strict=True)
        )
        self._before = now
        if not any(ran) and not commits:
            return {}
        accepted = sum(commit.origin == "accepted" for commit in commits)
        turn = Turn(self._milliseconds(start), self._milliseconds(end), ran, proposed, accepted, len(commits))
        return {"turn": asdict(turn), "tokens": self._tokens(commits)}

    def _milliseconds(self, when: float) -> float:
        return round(1000 * (when - self._since), 3)

    @torch.inference_mode()
    def _tokens(self, commits: Sequence[Commit]) -> list[dict[str, Any]]:
        """Each committed token, and what was said about its position."""
        if not commits:
            return []
        logits = [member[: len(commits)] for member in self._combination.logits]
        combined = self._combination.inner([member.clone() for member in logits], Warp())
        each = {index: Warp()(logits[index]) for index in self._heard(logits)}
        order = combined.sort(-1, descending=True).indices[:, : self._candidates].tolist()
        return [self._token(commit, k, order[k], combined, each) for k, commit in enumerate(commits)]

    def _heard(self, logits: Sequence[Tensor]) -> list[int]:
        """The members that spoke for themselves: a needed one may stand in for others, which is not what they said."""
        spoken = Counter(id(member) for member in self._combination.logits)
        alone = [index for index, member in enumerate(self._combination.logits) if spoken[id(member)] == 1]
        return [index for index in range(len(logits)) if index in alone or self._needed == (index,)]

    def _token(
        self, commit: Commit, position: int, ids: list[int], combined: Tensor, each: dict[int, Tensor]
    ) -> dict[str, Any]:
        shown = ids if commit.token in ids else [*ids, commit.token]
        candidates = [
            {
                "id": token,
                "text": token_text(self._tokenizer, token),
                "combined": float(combined[position, token]),
                "members": [float(each[m][position, token]) if m in each else None for m in range(self._members)],
            }
            for token in shown
        ]
        text = token_text(self._tokenizer, commit.token)
        origin = {"origin": commit.origin, "member": commit.member}
        return {"id": commit.token, "text": text, **origin, "candidates": candidates}
