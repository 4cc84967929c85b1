"""The timeline of one run: the time and the number of tokens of each forward, and the time of each committed token."""

import time
from typing import Any

from unisono.decoding.events import Accepted, Drawn, Forward, Replaced, commits
from unisono.ensemble import Ensemble
from unisono.params import SamplingParams


class Watch:
    """A listener of the engine and of one row. All times are in seconds since the watch was made.

    forwards: one entry [member, start, end, tokens read] per member and forward.
    commits: the time of each committed token.
    """

    hears = (Forward, Accepted, Replaced, Drawn)

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.forwards: list[list[float]] = []
        self.commits: list[float] = []

    def observe(self, event: Forward | Accepted | Replaced | Drawn) -> None:
        """Record the time of a forward, or the time of committed tokens."""
        if isinstance(event, Forward):
            start = event.start - self._started
            self.forwards += [[member, start, start + event.seconds, event.tokens] for member in event.members]
        else:
            self.commits += [time.perf_counter() - self._started] * len(commits(event))


def timeline(ensemble: Ensemble, prompt: str, params: SamplingParams, **overrides: Any) -> dict[str, Any]:
    """Decode one prompt and return the timeline of the run. All times are in seconds since the start.

    Returns:
        members: the names of the members.
        forwards: one entry [member, start, end, tokens read] per member and forward.
        commits: one entry [time, origin, member that proposed] per token. `origin` is the field `origin` of `Commit`.
        method: the names of the combination, the schedule and the verification.
    """
    ensemble.generate(prompt, SamplingParams(max_tokens=8), progress=False, **overrides)
    (request,) = ensemble.start(prompt, params, **overrides)
    watch = Watch()
    request.listen(watch)
    ensemble.engine.listen(watch)
    try:
        result = request.run(ensemble.engine)
    finally:
        ensemble.engine.unlisten(watch)
    pairs = zip(watch.commits, result.commits, strict=False)  # a stop string may cut off the last tokens
    return {
        "members": ensemble.names,
        "forwards": watch.forwards,
        "commits": [[when, commit.origin, commit.member] for when, commit in pairs],
        "method": " ".join((result.combination, result.schedule, result.verification)),
    }
