"""Policies and schedules: which member runs next for a row, who proposes how many tokens, and what is measured.

A policy looks at what is committed, at proposals that stay proposals, and at events. So it can change the speed of a text
but not its law. A schedule makes one policy per row, and holds what rows share.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from unisono.combine.base import Combination
from unisono.decoding.prompt_lookup import Lookup
from unisono.decoding.proposals import Name, Proposal
from unisono.errors import ConfigurationError
from unisono.sampling.warp import Warp


@dataclass(frozen=True)
class View:
    """What a policy knows of its row when it is asked for a turn.

    open: number of open proposals. scored: per member, how many open positions it has scored. needed: the members
    without whose scores nothing can be decided now. proposer: the member that proposes by default. room: how many more
    tokens may be proposed before the end of the row; a turn that asks for more gets as many. drawn: if each position
    follows a member that is drawn for it and that is known in advance, that member for each open position and for some
    positions behind, from the first one on.
    """

    open: int
    scored: tuple[int, ...]
    needed: tuple[int, ...]
    proposer: int
    room: int = 2**31
    drawn: tuple[int, ...] = ()

    def least_scored(self) -> int:
        """Return the needed member that has scored the fewest open positions; the default proposer among equals."""
        return min(self.needed, key=lambda member: (self.scored[member], member != self.proposer, member))


@dataclass(frozen=True)
class Turn:
    """What a row does next: members score all open positions, then proposers propose, one after the other.

    drafts: pairs of a proposer and the number of its steps. A member that proposes must have scored the last proposal.
    """

    members: tuple[int, ...]
    drafts: tuple[tuple[Name, int], ...] = ()


class MemberLaws(Protocol):
    """What a proposer bases its next proposal on.

    law: [V], the law that the proposal would be drawn from. raw: [V], the same at temperature 1, without edits, mask and
    truncation: at temperature 0 `law` says nothing about how sure the proposer is.
    """

    @property
    def law(self) -> Tensor: ...

    @property
    def raw(self) -> Tensor: ...


@dataclass(frozen=True)
class RowRequest:
    """What a policy knows of its row from the beginning.

    verification: its name. proposer: the member that proposes by default. needed: members that the law needs. odds: if a
    member is drawn for each position with the same odds everywhere, these odds; else empty. ends: tokens that end the text.
    plain: whether no edit and no constraint changes the logits. text: the row's tokens, for look-ups.
    """

    combination: Combination
    warp: Warp
    verification: str
    proposer: int
    needed: tuple[int, ...]
    odds: tuple[float, ...]
    ends: frozenset[int]
    plain: bool
    text: Lookup


class Policy:
    """Decides for one row who runs. A subclass defines `turn`; the other methods have defaults.

    A policy is a listener of its row: it gets the events whose kinds are in `hears`.
    """

    hears: Sequence[type] = ()

    @property
    def following(self) -> str:
        """The name of the plan that the policy follows at present, for `Stats.plans`; empty if it has none."""
        return ""

    def turn(self, view: View) -> Turn:
        """Return what the row does next. It is asked once per round."""
        raise NotImplementedError

    def draws(self, open: Sequence[Proposal], proposer: Name, scores: MemberLaws) -> bool:
        """Return whether the proposer's next proposal, behind the open ones, is worth deciding.

        It is asked before the proposal is drawn.
        """
        return True

    def goes_on(self, open: Sequence[Proposal], proposer: Name) -> bool:
        """Return whether another step of the proposer, behind the open proposals, is worth its cost.

        It is asked behind a draft, which stays as it is.
        """
        return True

    def copies(self, open: Sequence[Proposal], run: int) -> int:
        """Return how many tokens to look up behind the open proposals, if they were found by a run of `run` tokens."""
        return 2**31

    def measures(self, positions: int) -> bool:
        """Return whether members are to be compared with the targets of so many positions; `Measured` events tell it."""
        return False

    def observe(self, event: Any) -> None:
        """An event has happened whose kind is in `hears`."""


class Schedule(Policy):
    """What a user passes as a schedule: it makes one policy per row, by default a copy of itself.

    So a subclass that defines `turn`, and what it likes of `Policy`, is a schedule; and so is a name with a function of the
    view. What rows share is kept in the schedule itself, whose `observe` is given the engine's events that it `hears` while
    rows of it run.

    Args:
        name: how it is shown; by default the name of the class.
        rule: a function that takes the view and returns the turn.
        members: how many members it is for, None for any number.
        lazy: whether members that a position turns out not to need are not waited for there; all but `standard` are.
        certain: whether it is made for proposals from one-hot laws.
    """

    name: str = ""
    members: int | None = None
    lazy: bool = True
    certain: bool = False
    _rule: Callable[[View], Turn] | None = None

    def __init__(
        self,
        name: str = "",
        rule: Callable[[View], Turn] | None = None,
        members: int | None = None,
        lazy: bool = True,
        certain: bool = False,
    ) -> None:
        self.name = name or self.name or type(self).__name__
        self._rule = rule
        self.members = self.members if members is None else members
        self.lazy, self.certain = self.lazy and lazy, self.certain or certain

    def turn(self, view: View) -> Turn:
        if self._rule is None:
            raise ConfigurationError(f"schedule {self.name} must define turn")
        return self._rule(view)

    def policy(self, request: RowRequest) -> Policy:
        """Return the policy of one row."""
        return self if self._rule else copy.deepcopy(self)


def checked(turn: object, schedule: str, members: range, proposers: Sequence[str]) -> Turn:
    """Return the turn if it can be taken: a user's policy may return anything.

    Raises:
        ConfigurationError: it names members or proposers that do not exist, none, or one twice, or negative counts.
    """
    problem = ConfigurationError(f"schedule {schedule} gave a turn that cannot be taken: {turn}")
    if not (isinstance(turn, Turn) and isinstance(turn.members, tuple) and isinstance(turn.drafts, tuple)):
        raise problem
    if not turn.members or any(member not in members for member in turn.members):
        raise problem
    for draft in turn.drafts:
        if not (isinstance(draft, tuple) and len(draft) == 2 and isinstance(draft[1], int) and draft[1] >= 0):
            raise problem
        if draft[0] not in members and draft[0] not in proposers:
            raise problem
    if len(turn.members) > 1 and (turn.drafts or len(set(turn.members)) < len(turn.members)):
        raise ConfigurationError(
            f"schedule {schedule} gave a turn that cannot be taken: members that run together are different and "
            f"propose nothing, not: {turn}"
        )
    return turn
