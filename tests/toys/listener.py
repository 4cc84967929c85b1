"""A listener that keeps every event that it is given, of a row or of the engine."""

from collections.abc import Sequence
from typing import Any, TypeVar

from unisono.decoding import events

T = TypeVar("T")
ROW: tuple[type, ...] = (
    events.Scored, events.Proposed, events.Measured, events.Accepted, events.Replaced, events.Drawn, events.RolledBack,
    events.Ended,
)  # fmt: skip
ENGINE: tuple[type, ...] = (events.StepBegan, events.Forward, events.StepEnded)


class Recorder:
    """See the module."""

    def __init__(self, *hears: type) -> None:
        self.hears: Sequence[type] = hears or (*ROW, *ENGINE)
        self.events: list[Any] = []

    def observe(self, event: Any) -> None:
        self.events.append(event)

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def letters(self) -> str:
        """Return the first letter of the name of each event's kind; B of `RolledBack`, to tell it from `Replaced`."""
        kinds = [type(event) for event in self.events]
        return "".join("B" if kind is events.RolledBack else kind.__name__[0] for kind in kinds)
