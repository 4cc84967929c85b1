"""Where a round's time goes: forwards per member, warp, combine, verify, and the bookkeeping around them.

The parts are timed from outside, by wrapping what the engine calls for the while; each part's time excludes that of
parts called within it. On a GPU a part's time is that of its launches, unless it waits.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from rich.table import Table

from unisono.ensemble import Ensemble
from unisono.params import SamplingParams
from unisono.sampling.logits_edits import EditedWarp
from unisono.sampling.warp import Warp

BOOKKEEPING = "bookkeeping"


@dataclass
class Profile:
    """Seconds and calls of each part. `total` is wall time, `tokens` what was decoded in it."""

    total: float = 0.0
    tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    _running: threading.local = field(default_factory=threading.local, repr=False)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted to the part and taken from the part that calls it."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            inner = getattr(self._running, "inner", 0.0)
            self._running.inner, started = 0.0, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - started
                self.seconds[part] = self.seconds.get(part, 0.0) + spent - self._running.inner
                self.calls[part] = self.calls.get(part, 0) + 1
                self._running.inner = inner + spent

        return wrapped

    def shares(self) -> dict[str, float]:
        """Each part's share of the wall time; what no part accounts for is bookkeeping.

        Members that run at the same time, as under `parallel`, may add up to more than all.
        """
        rest = self.total - sum(self.seconds.values())
        return {part: spent / self.total for part, spent in {**self.seconds, BOOKKEEPING: rest}.items()}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"shares": self.shares(), "calls": self.calls, "tokens": self.tokens, "seconds": self.total}


@contextmanager
def profiled(ensemble: Ensemble, **overrides: Any) -> Iterator[Profile]:
    """Count the time of everything that the ensemble decodes in the while, by the method that `overrides` choose."""
    method, profile = ensemble.method(**overrides), Profile()
    with ExitStack() as stack:
        for member in ensemble.members:
            stack.enter_context(patch.object(member, "score", profile.timed(f"forward {member.name}", member.score)))
        for kind, part in ((Warp, "warp"), (EditedWarp, "warp"), (type(method.combination), "combine")):
            stack.enter_context(patch.object(kind, "__call__", profile.timed(part, kind.__call__)))
        verification = method.verification
        decide = verification.decide
        object.__setattr__(verification, "decide", profile.timed("verify", decide))  # it is frozen
        stack.callback(object.__setattr__, verification, "decide", decide)
        started = time.perf_counter()
        yield profile
        profile.total = time.perf_counter() - started


def measure(ensemble: Ensemble, prompts: Sequence[str], params: SamplingParams, **overrides: Any) -> Profile:
    """The profile of decoding the prompts, each by itself, after a short warm-up."""
    ensemble.generate(prompts[0], SamplingParams(max_tokens=8), **overrides)
    with profiled(ensemble, **overrides) as profile:
        for prompt in prompts:
            profile.tokens += sum(len(result.token_ids) for result in ensemble.generate(prompt, params, **overrides))
    return profile


def table(profile: Profile) -> Table:
    """For a terminal; per token, since rounds differ in length."""
    found = Table("part", "share", "ms/token", "calls/token")
    for part, share in sorted(profile.shares().items(), key=lambda item: -item[1]):
        milliseconds = 1000 * share * profile.total / profile.tokens
        calls = f"{profile.calls[part] / profile.tokens:.2f}" if part in profile.calls else "-"
        found.add_row(part, f"{share:.1%}", f"{milliseconds:.3f}", calls)
    return found
