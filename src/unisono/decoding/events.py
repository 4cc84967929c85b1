"""Events: what happens to a row and in the engine, as frozen values for listeners.

A listener names the kinds of events that it `hears`; no others are made for it. Events come in the thread that decodes.
Positions count from the first generated token. A token in an event may still be on a device (see `transfer.Token`),
except in `Accepted`, `Replaced` and `Drawn`.

A row tells, for each settling: `Measured`, `Accepted`, then `Replaced` or `Drawn`, then `RolledBack`, then `Ended`. It
tells them before it changes, so a listener still sees the row in which the decision was made.
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
    """A member has scored positions from `first` on, one per row of `scores`."""

    member: int
    first: int
    scores: Scores


@dataclass(frozen=True)
class Proposed:
    """A proposer has proposed a token. `proposer`: the index of a member, the name of another proposer, or `FORCED`."""

    position: int
    token: Token
    proposer: Name


@dataclass(frozen=True)
class Measured:
    """A member was compared with the targets at positions from `first` on, as far as it had scored them.

    overlaps: per position, the probability that a proposal from the member's law is accepted. surest: per position, the
    largest probability of the member's law (at temperature 0, of its law at temperature 1).
    """

    member: int
    first: int
    overlaps: Sequence[float]
    surest: Sequence[float]


@dataclass(frozen=True)
class Accepted:
    """Proposals were accepted at positions from `first` on."""

    first: int
    tokens: Sequence[int]
    proposers: Sequence[Name]


@dataclass(frozen=True)
class Replaced:
    """A proposal was rejected, and `token` was drawn in its place."""

    position: int
    proposed: int
    proposer: Name
    token: int


@dataclass(frozen=True)
class Drawn:
    """A token was drawn from the target law at a position without a proposal."""

    position: int
    token: int


@dataclass(frozen=True)
class RolledBack:
    """`count` proposals from position `first` on were discarded undecided, since one before them was rejected."""

    first: int
    count: int


@dataclass(frozen=True)
class Ended:
    """The row has ended, with all its tokens committed. A row that fails or is cancelled tells nothing."""

    tokens: int


@dataclass(frozen=True)
class StepBegan:
    """A step of the engine begins while so many rows run."""

    rows: int


@dataclass(frozen=True)
class Forward:
    """Members have run one forward pass, several if they are twins.

    rows: how many rows it served. widest: the most tokens that it read or scored of one row. tokens: how many it read
    of all rows. seconds: wall time. start: as `time.perf_counter` tells.
    """

    members: tuple[int, ...]
    rows: int
    widest: int
    tokens: int
    seconds: float
    start: float


@dataclass(frozen=True)
class StepEnded:
    """A step has ended. outside: its seconds outside of forward passes. drafted: forward passes behind proposals."""

    outside: float
    drafted: int


def commit(token: int, origin: Origin, proposer: Name, proposed: int | None = None) -> Commit:
    """Return the commit of a token that was proposed, or, if `proposed` is given, that replaces this proposal."""
    if proposer == FORCED:
        return Commit(token, "forced")
    if isinstance(proposer, int):
        return Commit(token, origin, proposer, proposed=proposed)
    return Commit(token, origin, proposed=proposed, proposer=proposer)


def commits(event: Accepted | Replaced | Drawn) -> list[Commit]:
    """Return the tokens that an event tells of as commits, without log-probabilities."""
    if isinstance(event, Accepted):
        return [commit(token, "accepted", by) for token, by in zip(event.tokens, event.proposers, strict=True)]
    if isinstance(event, Replaced):
        return [commit(event.token, "redrawn", event.proposer, event.proposed)]
    return [Commit(event.token, "drawn")]


class Listener(Protocol):
    """Anything that wants to know what happens. It returns nothing and cannot change a text."""

    @property
    def hears(self) -> Sequence[type]:
        """The kinds of events that `observe` is given; a class attribute is enough."""
        ...

    def observe(self, event: Any) -> None:
        """An event has happened. An error that this raises is logged, and the listener hears nothing more."""
        ...


class Listeners:
    """The listeners of one row, or of the engine."""

    def __init__(self, *listeners: Listener) -> None:
        self._by_kind: dict[type, list[Listener]] = {}
        for listener in listeners:
            self.add(listener)

    def add(self, listener: Listener) -> None:
        """Give the listener the events that it hears, from now on; one that was added before gets each event once."""
        for kind in listener.hears:
            heard = self._by_kind.setdefault(kind, [])
            if all(each is not listener for each in heard):
                heard.append(listener)

    def remove(self, listener: Listener) -> None:
        """Give the listener no more events."""
        for kind, heard in list(self._by_kind.items()):
            self._by_kind[kind] = [each for each in heard if each is not listener]
            if not self._by_kind[kind]:
                del self._by_kind[kind]

    def hear(self, *kinds: type) -> bool:
        """Whether an event of some of these kinds would reach a listener."""
        return not self._by_kind.keys().isdisjoint(kinds)

    def tell(self, kind: type, *fields: Any) -> None:
        """Give an event of a kind to the listeners that hear it; it is made only if there are any."""
        if kind not in self._by_kind:
            return
        event = kind(*fields)
        for listener in tuple(self._by_kind[kind]):
            try:
                listener.observe(event)
            except Exception:
                LOG.exception("the listener %s failed and is dropped", type(listener).__name__)
                self.remove(listener)
