"""One run as it happened: when which member ran on how many tokens, and which tokens came of it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from unisono.ensemble import Ensemble
from unisono.members.base import Work
from unisono.params import SamplingParams


def timeline(ensemble: Ensemble, prompt: str, params: SamplingParams, **overrides: Any) -> dict[str, Any]:
    """Decode one prompt and watch.

    Returns:
        members: names. forwards: [member, start, end, tokens read] each, in seconds since the start. commits: [time,
        origin, member that proposed] each, `origin` as in `Commit`. method: what was used.
    """
    ensemble.generate(prompt, SamplingParams(max_tokens=8), progress=False, **overrides)
    forwards: list[list[float]] = []
    commits: list[list[Any]] = []
    with ExitStack() as stack:
        started = time.perf_counter()
        for index, member in enumerate(ensemble.members):
            stack.enter_context(patch.object(member, "score", _watched(index, member.score, forwards, started)))
        for piece in ensemble.stream(prompt, params, **overrides):
            if piece.commit:
                commits.append([time.perf_counter() - started, piece.commit.origin, piece.commit.member])
            else:
                result = piece.result
    assert result is not None
    method = " ".join((result.combination, result.schedule, result.verification))
    return {"members": ensemble.names, "forwards": forwards, "commits": commits, "method": method}


def _watched(index: int, score: Any, forwards: list[list[float]], started: float) -> Any:
    def watched(work: Sequence[Work]) -> Any:
        begun = time.perf_counter() - started
        found = score(work)
        forwards.append([index, begun, time.perf_counter() - started, sum(len(item.tokens) for item in work)])
        return found

    return watched
