"""Loaded members and the engine that runs their requests, until somebody closes it."""

from types import TracebackType
from typing import Self

from unisono.decoding.engine import Engine
from unisono.members.base import Member
from unisono.members.lineup import Lineup
from unisono.params import SamplingParams


class Session:
    """A part of `Ensemble`. As a context manager it is closed at the end of the block."""

    def __init__(self, lineup: Lineup, engine: Engine) -> None:
        self.lineup = lineup
        self._engine = engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all requests and give the caches' memory back; from now on every request raises RequestError. Harmless twice.

        Whoever waits for a request gets the error too. Weights are freed with the last reference to them.
        """
        self._engine.close()

    @property
    def members(self) -> list[Member]:
        """The members, in their order; a draft model is the last."""
        return list(self.lineup.members)

    @property
    def names(self) -> list[str]:
        """The members' names, in their order; a draft model's is the last."""
        return self.lineup.names

    @property
    def engine(self) -> Engine:
        """The loop that runs this ensemble's requests, for who steps it himself: see `start`."""
        return self._engine

    @property
    def default_params(self) -> SamplingParams:
        """What a call has that gives none: temperature, top_k, top_p, min_p and repetition_penalty may be a member's own.

        `SamplingParams` that you make are taken as they are; `dataclasses.replace` of this builds on it.
        """
        return SamplingParams(**self.lineup.sampling)
