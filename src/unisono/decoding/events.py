"""Events: frozen values that inform listeners about rows and about the engine.

A listener lists in `hears` the event classes that it wants to receive. Events are sent in the thread that decodes.
Positions count from the first generated token. A token in an event may still be on a device (see `transfer.Token`),
except in `Accepted`, `Replaced` and `Drawn`.

When proposals of a row are decided, the events are sent in this order: `Measured`, `Accepted`, `Replaced` or `Drawn`,
`RolledBack`, `Ended`. All these events are sent before the row changes, so a listener still sees the open proposals.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from unisono.decoding.proposals import FORCED, Name
from unisono.members.base import Scores
from unisono.transfer import Token
from unisono.types import Commit, Origin

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """The event that a member has scored open positions. Row i of `scores` belongs to position `first` + i."""

    member: int
    first: int
    scores: Scores


@dataclass(frozen=True)
class Proposed:
    """The event that a token was proposed.

    proposer: the index of a member, the name of a proposer that is not a member, or `FORCED`.
    """

    position: int
    token: Token
    proposer: Name


@dataclass(frozen=True)
class Measured:
    """The event that a member's laws were compared with the target laws, at consecutive positions.

    first: the first compared position. overlaps: for each position, the probability that a proposal drawn from the
    member's law is accepted. surest: for each position, the largest probability in this law. At temperature 0, `surest`
    uses the law at temperature 1.
    """

    member: int
    first: int
    overlaps: Sequence[float]
    surest: Sequence[float]


@dataclass(frozen=True)
class Accepted:
    """The event that proposals were accepted, at consecutive positions. `first` is the first of these positions."""

    first: int
    tokens: Sequence[int]
    proposers: Sequence[Name]


@dataclass(frozen=True)
class Replaced:
    """The event that the proposal `proposed` was rejected. `token` was drawn as the replacement."""

    position: int
    proposed: int
    proposer: Name
    token: int


@dataclass(frozen=True)
class Drawn:
    """The event that a token was drawn from the target law at a position without a proposal."""

    position: int
    token: int


@dataclass(frozen=True)
class RolledBack:
    """The event that `count` proposals were discarded. The first of these proposals is at position `first`.

    The reason is that an earlier proposal was rejected, or that the text has ended.
    """

    first: int
    count: int


@dataclass(frozen=True)
class Ended:
    """The event that a row has ended normally with `tokens` committed tokens.

    A row that fails or is cancelled does not send this event.
    """

    tokens: int


@dataclass(frozen=True)
class StepBegan:
    """The event that a step of the engine begins. rows: the number of running rows, at least 1."""

    rows: int


@dataclass(frozen=True)
class Forward:
    """The event that one forward pass has ended.

    members: one member, or several twins (members with the same weights). rows: the number of rows. widest: the
    largest number of tokens read or scored for one row. tokens: the number of tokens read for all rows. seconds: the
    duration. start: the time at the beginning, as returned by `time.perf_counter`.
    """

    members: tuple[int, ...]
    rows: int
    widest: int
    tokens: int
    seconds: float
    start: float


@dataclass(frozen=True)
class StepEnded:
    """The event that a step of the engine has ended.

    outside: seconds outside of forward passes. drafted: number of forward passes for drafting.
    """

    outside: float
    drafted: int


def commit(token: int, origin: Origin, proposer: Name, proposed: int | None = None) -> Commit:
    """Return the commit of a token. `proposed` is the rejected proposal that the token replaces, if there is one."""
    if proposer == FORCED:
        return Commit(token, "forced")
    if isinstance(proposer, int):
        return Commit(token, origin, proposer, proposed=proposed)
    return Commit(token, origin, proposed=proposed, proposer=proposer)


def commits(event: Accepted | Replaced | Drawn) -> list[Commit]:
    """Return the commits that an event reports, without log-probabilities."""
    if isinstance(event, Accepted):
        return [commit(token, "accepted", by) for token, by in zip(event.tokens, event.proposers, strict=True)]
    if isinstance(event, Replaced):
        return [commit(event.token, "redrawn", event.proposer, event.proposed)]
    return [Commit(event.token, "drawn")]


class Listener(Protocol):
    """Receives events. A listener cannot change a text."""

    @property
    def hears(self) -> Sequence[type]:
        """The classes of the events that `observe` receives. A listener may define `hears` as a class attribute."""
        ...

    def observe(self, event: Any) -> None:
        """Handle an event. If this raises, the error is logged and the listener receives no more events."""
        ...


class Listeners:
    """The listeners of one row or of the engine."""

    def __init__(self, *listeners: Listener) -> None:
        self._by_kind: dict[type, list[Listener]] = {}
        for listener in listeners:
            self.add(listener)

    def add(self, listener: Listener) -> None:
        """Send all later events of the kinds in `listener.hears` to the listener. A second call changes nothing."""
        for kind in listener.hears:
            heard = self._by_kind.setdefault(kind, [])
            if all(each is not listener for each in heard):
                heard.append(listener)

    def remove(self, listener: Listener) -> None:
        """Stop sending events to the listener."""
        for kind, heard in list(self._by_kind.items()):
            self._by_kind[kind] = [each for each in heard if each is not listener]
            if not self._by_kind[kind]:
                del self._by_kind[kind]

    def __bool__(self) -> bool:
        """Return whether any listener receives events."""
        return bool(self._by_kind)

    def hear(self, kind: type) -> bool:
        """Return whether any listener receives events of this kind."""
        return kind in self._by_kind

    def tell(self, kind: type, *fields: Any) -> None:
        """Send the event `kind(*fields)` to all listeners of this kind. Without such listeners, no event is created."""
        if kind not in self._by_kind:
            return
        event = kind(*fields)
        for listener in tuple(self._by_kind[kind]):
            try:
                listener.observe(event)
            except Exception:
                LOG.exception("the listener %s failed and is dropped", type(listener).__name__)
                self.remove(listener)
