"""The data that the playground shows: the members' laws at each token, and the times of the members' forwards."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.combine.base import target_law
from unisono.combine.positions import GivenScores, Positions
from unisono.decoding.events import Accepted, Drawn, Replaced, Scored, commits
from unisono.decoding.row import Row
from unisono.sampling.warp import Warp
from unisono.tokens.token_text import token_text
from unisono.types import Commit


class Observer:
    """A listener that describes the tokens and steps of one row.

    An observer changes neither the text nor the forwards of the row.

    Args:
        candidates: the number of most probable tokens to show for each position.
        since: the time at which the request arrived, as returned by `time.perf_counter`.
    """

    hears = (Scored, Accepted, Replaced, Drawn)

    def __init__(self, tokenizer: Any, row: Row, candidates: int, since: float) -> None:
        self._tokenizer = tokenizer
        self._row = row
        self._candidates = candidates
        self._since = since
        nothing = tuple(0 for _ in row.lineup.everyone)
        self._before = (nothing, nothing, (0,))
        self._logits: list[dict[int, Tensor]] = [{} for _ in nothing]  # per member, logits [V] by open position
        self._noted: deque[dict[str, Any]] = deque()
        row.listen(self)

    def observe(self, event: Scored | Accepted | Replaced | Drawn) -> None:
        """If the event is `Scored`, store its logits until the tokens at their positions are committed.

        For any other event, describe the tokens that the event commits. `look` returns these descriptions later.
        """
        if isinstance(event, Scored):
            self._logits[event.member].update(enumerate(event.scores.logits, event.first))
            return
        first = event.first if isinstance(event, Accepted) else event.position
        for position, commit in enumerate(commits(event), first):
            scored = [logits.pop(position, None) for logits in self._logits]
            self._noted.append(self._token(commit, scored, self._row.drawn(position)))
        if not isinstance(event, Accepted):  # the later positions now follow another token, so they are scored again
            for logits in self._logits:
                logits.clear()

    def look(self, count: int, start: float, end: float) -> dict[str, Any]:
        """Return the field `unisono` of a chunk. The field describes the last step of the engine.

        Return an empty dict if the step ran no forward for the row and added no token to the row.

        Args:
            count: the number of tokens that the step added.
            start: the time at which the step began, as returned by `time.perf_counter`.
            end: the time at which the step ended, as returned by `time.perf_counter`.
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
        tokens = [self._noted.popleft() for _ in range(min(count, len(self._noted)))]
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

    def _token(self, commit: Commit, scored: Sequence[Tensor | None], drawn: int | None) -> dict[str, Any]:
        laws = [None if logits is None else Warp()(logits) for logits in scored]
        combined = self._combined(scored) if drawn is None else laws[drawn]
        known = [law for law in laws if law is not None]
        ids: list[int] = []
        if known:
            order = torch.stack(known).mean(0) if combined is None else combined
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

    def _combined(self, scored: Sequence[Tensor | None]) -> Tensor | None:
        """Return the combined law [V] at temperature 1.

        Return None if the known scores do not determine the law, or if the combination needs inputs other than scores.
        """
        combination, warp = self._row.method.combination, Warp()
        own = [scored[member] for member in self._row.lineup.combined]
        some = next((logits for logits in own if logits is not None), None)
        if some is None or combination.reads:
            return None
        heard = frozenset(member for member, logits in enumerate(own) if logits is not None)
        filled = [GivenScores((some if logits is None else logits).unsqueeze(0), warp) for logits in own]
        positions = Positions(filled, heard)
        if not heard.issuperset(combination.needed(len(own))):
            certainty = combination.traits(warp).certainty
            if certainty is None or not bool(certainty.fixed(positions, warp)):
                return None
        return target_law(combination, positions, warp)[0]
