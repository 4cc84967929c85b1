"""Policies and schedules. They choose the member that runs next for a row, and how many tokens each proposer proposes.

A policy can read committed tokens, open proposals and events, but not change them. So a policy changes the speed of
decoding but not the law of the text. There is one condition: under the verification `block`, the members of a turn and
`Policy.lazy` must not depend on the tokens of open proposals, because they determine where a block ends. A schedule
makes one policy per row and holds the state that its rows share.
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
from unisono.frozen import quick
from unisono.sampling.warp import Warp


@quick
@dataclass(frozen=True)
class View:
    """The state of a row that a policy reads to choose the next turn.

    open: the number of open proposals. scored: for each member, the number of open positions that it has scored.
    needed: the members whose scores are required to decide the next position. proposer: the member that proposes by
    default. room: how many more tokens may be proposed; a turn that asks for more gets only `room` tokens. drawn: the
    members that the combination has drawn in advance, one member per position. The first entry is for the first open
    position. The tuple is empty if no members are drawn in advance.
    """

    open: int
    scored: tuple[int, ...]
    needed: tuple[int, ...]
    proposer: int
    room: int = 2**31
    drawn: tuple[int, ...] = ()

    def least_scored(self) -> int:
        """Return the needed member with the fewest scored positions. Among equals, prefer the default proposer."""
        return min(self.needed, key=lambda member: (self.scored[member], member != self.proposer, member))


@quick
@dataclass(frozen=True)
class Turn:
    """The next actions of a row: `members` score all open positions, then the proposers in `drafts` run in this order.

    drafts: pairs of a proposer and its number of steps. A member that proposes must have scored all open positions.
    """

    members: tuple[int, ...]
    drafts: tuple[tuple[Name, int], ...] = ()


class MemberLaws(Protocol):
    """The laws from which a proposer draws its next proposal.

    law: [V], the law that the proposal is drawn from. raw: [V], the law at temperature 1 without edits, mask and
    truncation. At temperature 0, use `raw` to measure the confidence of the proposer.
    """

    @property
    def law(self) -> Tensor: ...

    @property
    def raw(self) -> Tensor: ...


@dataclass(frozen=True)
class RowRequest:
    """The facts about a row that the row's policy receives before the first turn.

    verification: the name of the verification. proposer: the member that proposes by default. needed: the members that
    the target law needs. odds: the fixed probability of drawing each member for a position; empty if the combination
    has no fixed probabilities. ends: tokens that end the text. plain: whether no edit or constraint changes the
    logits. text: the lookup index of the row's tokens.
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
    """Chooses the turns of one row. A subclass defines `turn`; all further methods have defaults.

    A policy is a listener of its row: its `observe` receives the row's events of the kinds in `hears`. lazy: whether
    the member that is drawn for a position may decide the position before all members have scored it. The row reads
    `lazy` after each turn. reads_on: whether a member that drafts several tokens goes on after a token that was
    committed in the same step. The member reads this token instead of the first token of its draft.
    """

    hears: Sequence[type] = ()
    lazy: bool = True
    reads_on: bool = False

    @property
    def following(self) -> str:
        """The name of the policy's current plan, counted in `Stats.plans`; empty if the policy has no plan."""
        return ""

    def turn(self, view: View) -> Turn:
        """Return the next turn of the row. This is called once per round."""
        raise NotImplementedError

    def draws(self, open: Sequence[Proposal], proposer: Name, scores: MemberLaws) -> bool:
        """Return whether to draw a proposal after the open proposals.

        This is called before the proposal is drawn. `scores` has the laws of the proposer at this position.
        """
        return True

    def goes_on(self, open: Sequence[Proposal], proposer: Name) -> bool:
        """Return whether the proposer takes another step after the open proposals.

        This is called after each draft. The answer does not change drafts that were already made.
        """
        return True

    def copies(self, open: Sequence[Proposal], run: int) -> int:
        """Return the maximum number of tokens to copy. The last `run` tokens of the text also occur earlier in it."""
        return 2**31

    def measures(self, positions: int) -> bool:
        """Return whether to compare the members' laws with the target laws at `positions` positions.

        The results of a comparison are sent as `Measured` events.
        """
        return False

    def observe(self, event: Any) -> None:
        """Handle an event of a kind in `hears`."""


class Schedule(Policy):
    """Makes one policy per row: by default, a copy of the schedule itself.

    To define a schedule, write a subclass with the method `turn`, or pass a name and a function that maps a view to a
    turn. The schedule object keeps the state that its rows share. While these rows run, the engine calls the method
    `observe` of the schedule for each event of the kinds in `hears`.

    Args:
        name: the name of the schedule in messages and statistics; by default the name of the class.
        rule: a function that takes the view and returns the turn.
        members: the number of members that the schedule is for; None for any number.
        lazy: whether a position may be decided before all members have scored it, if the decision is already certain.
        certain: whether the schedule is made for proposals from one-hot laws.
    """

    name: str = ""
    members: int | None = None
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
    """Return the turn of a policy if the turn is valid.

    Raises:
        ConfigurationError: the turn has no member, a member twice, an unknown name, negative steps, or several members
            together with drafts.
    """
    if not _possible(turn, members, proposers):
        raise ConfigurationError(f"schedule {schedule} gave a turn that cannot be taken: {turn}")
    assert isinstance(turn, Turn)
    if len(turn.members) > 1 and (turn.drafts or len(set(turn.members)) < len(turn.members)):
        raise ConfigurationError(
            f"schedule {schedule} gave a turn that cannot be taken: members that run together are different and "
            f"propose nothing, not: {turn}"
        )
    return turn


def _possible(turn: object, members: range, proposers: Sequence[str]) -> bool:
    """Return whether a turn has the right types, and names members and proposers that exist."""
    if not (isinstance(turn, Turn) and isinstance(turn.members, tuple) and isinstance(turn.drafts, tuple)):
        return False
    if not turn.members or any(member not in members for member in turn.members):
        return False
    for draft in turn.drafts:
        if not (isinstance(draft, tuple) and len(draft) == 2 and isinstance(draft[1], int) and draft[1] >= 0):
            return False
        if draft[0] not in members and draft[0] not in proposers:
            return False
    return True
