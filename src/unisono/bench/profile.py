"""Where the time of a round goes: forward passes per member, the combined law, verification, and the rest.

A second ensemble decodes with the same members, combination and verification, each in a wrapper that takes the time. The
time of a part excludes the parts that it calls. The warp counts to the combination where the combination reads warped laws
or warps its own scores, and to the bookkeeping where a member proposes. On a GPU a part's time is that of its launches,
unless the part waits for the device.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.table import Table
from torch import Tensor

from unisono.combine.base import Combination, Traits
from unisono.combine.positions import Positions
from unisono.ensemble import Ensemble
from unisono.members.base import Member
from unisono.params import SamplingParams
from unisono.sampling.warp import AnyWarp

BOOKKEEPING = "bookkeeping"


@dataclass
class Profile:
    """Seconds and calls of each part. total: wall time in seconds. tokens: how many were decoded in that time."""

    total: float = 0.0
    tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    _running: threading.local = field(default_factory=threading.local, repr=False)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, wrapped: its time counts to this part, and not to the part that calls it."""

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
        """Return each part's share of the wall time; the time outside of all parts is bookkeeping.

        The shares of members that run at the same time, as under `parallel`, may add up to more than 1.
        """
        rest = self.total - sum(self.seconds.values())
        return {part: spent / self.total for part, spent in {**self.seconds, BOOKKEEPING: rest}.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"shares": self.shares(), "calls": self.calls, "tokens": self.tokens, "seconds": self.total}


class TimedMember:
    """A member whose forward passes are timed."""

    def __init__(self, member: Member, profile: Profile) -> None:
        self._member = member
        self.score = profile.timed(f"forward {member.name}", member.score)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)


class TimedCombination(Combination):
    """A combination whose law is timed."""

    def __init__(self, combination: Combination, profile: Profile) -> None:
        self._combination, self._profile = combination, profile
        self._law = profile.timed("combine", combination.law)
        self._odds = profile.timed("combine", combination.odds)
        for name in ("reads", "prompts", "drawn_by", "checked"):
            setattr(self, name, getattr(combination, name))

    @property
    def name(self) -> str:
        return self._combination.name

    def check(self, members: int) -> None:
        self._combination.check(members)

    def needed(self, members: int) -> tuple[int, ...]:
        return self._combination.needed(members)

    def scores(self, logits: Sequence[Tensor]) -> Tensor | None:
        return self._combination.scores(logits)

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        law: Tensor = self._law(positions, warp)
        return law

    def odds(self, positions: Positions) -> Tensor:
        odds: Tensor = self._odds(positions)
        return odds

    def traits(self, warp: AnyWarp) -> Traits:
        return self._combination.traits(warp)


def timed(ensemble: Ensemble, profile: Profile, params: SamplingParams, **overrides: Any) -> Ensemble:
    """Return an ensemble that decodes as the given one does for these arguments, and counts the time of its parts.

    It has the same members: do not close it.
    """
    method = ensemble.method(params, **overrides)
    members: Any = tuple(TimedMember(member, profile) for member in ensemble.members)
    verification = replace(method.verification, decide=profile.timed("verify", method.verification.decide))
    return Ensemble(
        replace(ensemble.lineup, members=members),
        ensemble.prompts,
        TimedCombination(method.combination, profile),
        method.schedule,
        verification,
    )


def measure(ensemble: Ensemble, prompts: Sequence[str], params: SamplingParams, **overrides: Any) -> Profile:
    """Return the profile of decoding the prompts one after the other, after a short warm-up."""
    ensemble.generate(prompts[0], SamplingParams(max_tokens=8), **overrides)
    profile = Profile()
    measured = timed(ensemble, profile, params, **overrides)
    started = time.perf_counter()
    for prompt in prompts:
        profile.tokens += sum(len(result.token_ids) for result in measured.generate(prompt, params))
    profile.total = time.perf_counter() - started
    return profile


def table(profile: Profile) -> Table:
    """Return the profile as a table for a terminal, per token, since rounds differ in length."""
    found = Table("part", "share", "ms/token", "calls/token")
    for part, share in sorted(profile.shares().items(), key=lambda item: -item[1]):
        milliseconds = 1000 * share * profile.total / profile.tokens
        calls = f"{profile.calls[part] / profile.tokens:.2f}" if part in profile.calls else "-"
        found.add_row(part, f"{share:.1%}", f"{milliseconds:.3f}", calls)
    return found
