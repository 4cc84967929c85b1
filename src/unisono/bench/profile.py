"""Measure how a round spends its time: forwards of each member, the combined law, verification, and bookkeeping.

A second ensemble decodes with the same members, combination and verification. Wrappers measure the time of these parts.
The time of a part excludes the parts that it calls.

The time of the warp belongs to the combination if the combination reads warped laws or warps its own scores. It belongs
to the bookkeeping if a member proposes. On a GPU, the time of a part is the host's time to launch the kernels of the
part, plus the host's time to wait for the device.
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
    """The seconds and the number of calls of each part.

    total: the wall time in seconds.
    tokens: the number of tokens that were decoded in the wall time.
    """

    total: float = 0.0
    tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    _running: threading.local = field(default_factory=threading.local, repr=False)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a wrapper of the function. The time of a call counts for `part`, not for the calling part."""

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
        """Return the share of the wall time of each part. Time outside of all parts counts as bookkeeping.

        The sum of the shares may exceed 1 if members run at the same time, for example under the schedule `parallel`.
        """
        rest = self.total - sum(self.seconds.values())
        return {part: spent / self.total for part, spent in {**self.seconds, BOOKKEEPING: rest}.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return the profile as plain values for JSON."""
        return {"shares": self.shares(), "calls": self.calls, "tokens": self.tokens, "seconds": self.total}


class TimedMember:
    """A wrapper of a member that measures the time of its forwards."""

    def __init__(self, member: Member, profile: Profile) -> None:
        self._member = member
        self.score = profile.timed(f"forward {member.name}", member.score)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)


class TimedCombination(Combination):
    """A wrapper of a combination that measures the time of its law and of its odds."""

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
    """Return an ensemble with the method that `ensemble` would use for these arguments.

    The returned ensemble adds the times of its parts to `profile`. Do not close this ensemble, because its members are
    the members of `ensemble`.
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
    """Decode the prompts one after the other and return the profile. A short warm-up run is not measured."""
    ensemble.generate(prompts[0], SamplingParams(max_tokens=8), **overrides)
    profile = Profile()
    measured = timed(ensemble, profile, params, **overrides)
    started = time.perf_counter()
    for prompt in prompts:
        profile.tokens += sum(len(result.token_ids) for result in measured.generate(prompt, params))
    profile.total = time.perf_counter() - started
    return profile


def table(profile: Profile) -> Table:
    """Return the profile as a table for a terminal. Times and calls are per token, because rounds differ in length."""
    found = Table("part", "share", "ms/token", "calls/token")
    for part, share in sorted(profile.shares().items(), key=lambda item: -item[1]):
        milliseconds = 1000 * share * profile.total / profile.tokens
        calls = f"{profile.calls[part] / profile.tokens:.2f}" if part in profile.calls else "-"
        found.add_row(part, f"{share:.1%}", f"{milliseconds:.3f}", calls)
    return found
