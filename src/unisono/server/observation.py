"""What the playground shows of a request: what each member said at each token, and who ran when."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.combine.base import Heard, filled
from unisono.decoding.row import Row
from unisono.sampling.warp import Warp
from unisono.tokens.token_text import token_text
from unisono.types import Commit


class Observer:
    """Watches one row, which runs as it would without. It listens to the row's frontier, which forgets what members said
    about a position as soon as a token is committed there.

    Args:
        candidates: how many of the most probable tokens to tell of each position.
        since: when the request came, as `time.perf_counter` tells.
    """

    def __init__(self, tokenizer: Any, row: Row, candidates: int, since: float) -> None:
        self._tokenizer = tokenizer
        self._row = row
        self._candidates = candidates
        self._since = since
        nothing = tuple(0 for _ in row.lineup.everyone)
        self._before = (nothing, nothing, (0,))
        # Per token that is being committed; with the member drawn for it
        self._said: deque[tuple[Heard, int | None]] = deque()
        self._noted: deque[dict[str, Any]] = deque()
        frontier, accept, replace = row.frontier, row.frontier.accept, row.frontier.replace

        def accepting(count: int) -> Any:
            self._listen(count)
            return accept(count)

        def replacing(token: int) -> None:
            self._listen(1)
            replace(token)

        frontier.accept, frontier.replace = accepting, replacing  # type: ignore[method-assign]

    def note(self, commits: Sequence[Commit]) -> None:
        """Tokens are being committed: keep what was said there."""
        self._noted.extend(self._token(commit, *self._said.popleft()) for commit in commits)

    def look(self, count: int, start: float, end: float) -> dict[str, Any]:
        """What the last step did: the `unisono` field of a chunk; empty if the row did nothing.

        Args:
            count: how many tokens it added. start: of the step. end: of the step.
        """
        now = (
            tuple(member.forwards for member in self._row.stats.members),
            tuple(member.proposed for member in self._row.stats.members),
            (self._row.stats.lookup.proposed,),
        )
        ran, proposed, (looked_up,) = (
            tuple(a - b for a, b in zip(*pair, strict=True)) for pair in zip(now, self._before, strict=True)
        )
        self._before = now
        if not any(ran) and not count:
            return {}
        tokens = [self._noted.popleft() for _ in range(count)]
        turn = {
            "start_ms": self._milliseconds(start),
            "end_ms": self._milliseconds(end),
            "forwards": ran,  # per member
            "proposed": proposed,
            "looked_up": looked_up,  # proposed from the text
            "accepted": sum(token["origin"] == "accepted" for token in tokens),
            "committed": count,
        }
        return {"turn": turn, "tokens": tokens}

    def _milliseconds(self, when: float) -> float:
        return round(1000 * (when - self._since), 3)

    def _listen(self, count: int) -> None:
        """Keep each member's scores of the first positions; None for a member that has not scored one."""
        row = self._row
        scores = [row.frontier.scores(member, count) for member in row.lineup.everyone]
        for k in range(count):
            heard = [each[k] if k < len(each) else None for each in scores]
            self._said.append((heard, row.needs.drawn(k) if row.needs.draws else None))

    @torch.inference_mode()
    def _token(self, commit: Commit, said: Heard, drawn: int | None) -> dict[str, Any]:
        laws = [None if logits is None else Warp()(logits.clone()) for logits in said]
        combined = self._combined(said) if drawn is None else laws[drawn]
        order = combined if combined is not None else torch.stack([law for law in laws if law is not None]).mean(0)
        ids = order.sort(descending=True).indices[: self._candidates].tolist()
        candidates = [
            {
                **self._named(token),
                "combined": None if combined is None else float(combined[token]),
                "members": [None if law is None else float(law[token]) for law in laws],
            }
            for token in (ids if commit.token in ids else [*ids, commit.token])
        ]
        return {
            **self._named(commit.token),
            "origin": commit.origin,
            "member": commit.member,
            "looked_up": commit.looked_up,
            "proposed": None if commit.proposed is None else self._named(commit.proposed),
            "drawn": drawn,
            "candidates": candidates,
        }

    def _named(self, token: int) -> dict[str, Any]:
        return {"id": token, "text": token_text(self._tokenizer, token)}

    def _combined(self, said: Heard) -> Tensor | None:
        """The combined law at temperature 1; None if nobody needed to know it, as where a member was drawn."""
        combination, warp = self._row.method.combination, Warp()
        own = [said[member] for member in self._row.lineup.combined]
        alone = [None if logits is None else logits.unsqueeze(0).clone() for logits in own]
        whole = all(own[member] is not None for member in combination.needed(len(own)))
        if whole or (combination.early(warp) and bool(combination.fixed(alone, warp))):
            return combination(filled(alone), warp)[0]
        return None
