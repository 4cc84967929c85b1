"""Schedules: who runs next, and how many tokens it proposes.

A schedule is a pure function of a `View` of the frontier. It never sees a model or a token, so it can change the speed
but not the law of the output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.errors import ConfigurationError, require_count


@dataclass(frozen=True)
class View:
    """What a schedule may know of a row.

    open: number of open proposals. scored: per member, how many open positions it has scored. needed: the members
    without whose scores nothing can be decided now. proposer: the member that proposes by default. room: how many more
    tokens may be proposed before the end of the row; a turn that asks for more gets as many. drawn: if each position
    follows a member that is drawn for it, that of each open position and of some behind, from the first one on.
    """

    open: int
    scored: tuple[int, ...]
    needed: tuple[int, ...]
    proposer: int
    room: int = 2**31
    drawn: tuple[int, ...] = ()

    def least_scored(self) -> int:
        """The needed member that has scored the fewest open positions; the default proposer among equals."""
        return min(self.needed, key=lambda member: (self.scored[member], member != self.proposer, member))


@dataclass(frozen=True)
class Turn:
    """These members score all open positions; then a single one proposes up to `propose` tokens.

    lookup: behind them, up to so many tokens are proposed that followed the last ones where they stood before.
    """

    members: tuple[int, ...]
    propose: int = 0
    lookup: int = 0


def checked(turn: object, schedule: str, members: range) -> Turn:
    """The turn, if it can be taken: a user's schedule may say anything.

    Raises:
        ConfigurationError: it names members that do not exist, none, or one twice, or negative counts.
    """
    if not (isinstance(turn, Turn) and isinstance(turn.members, tuple) and turn.members):
        raise ConfigurationError(f"schedule {schedule} gave a turn that cannot be taken: {turn}")
    counts = all(isinstance(count, int) and count >= 0 for count in (turn.propose, turn.lookup))
    if not counts or any(member not in members for member in turn.members):
        raise ConfigurationError(f"schedule {schedule} gave a turn that cannot be taken: {turn}")
    if len(turn.members) > 1 and (turn.propose or turn.lookup or len(set(turn.members)) < len(turn.members)):
        raise ConfigurationError(
            f"schedule {schedule} gave a turn that cannot be taken: members that run together are different and "
            f"propose nothing, not: {turn}"
        )
    return turn


@dataclass(frozen=True)
class Schedule:
    """A named rule. `name` is how a user writes it; `members` is how many it is for, None for any number.

    lazy: members that a position turns out not to need are not waited for there; all but `standard` are. certain: it is
    made for proposals from one-hot laws. steer: makes a pilot that takes its place, one for each row (see `pilot`).
    """

    name: str
    turn: Callable[[View], Turn]
    members: int | None = None
    lazy: bool = True
    certain: bool = False
    steer: Callable[[], Any] | None = None


def standard() -> Schedule:
    """Every member of the combination scores every position, then the token is drawn from its law: the reference."""
    return Schedule("standard", lambda view: Turn((view.least_scored(),)), lazy=False)


def parallel() -> Schedule:
    """As `standard`, with the members running at the same time (CoS' WE-P and CD-P baselines)."""
    return Schedule("parallel", lambda view: Turn(view.needed))


def speculative(length: int) -> Schedule:
    """The default proposer drafts `length` tokens, the others score them (CoS' Naive-CoS).

    Raises:
        ConfigurationError: length is below 1.
    """
    (draft,) = _lengths([length])

    def turn(view: View) -> Turn:
        if view.open == 0:
            return Turn((view.proposer,), draft)
        return Turn((view.least_scored(),))

    return Schedule(f"speculative:{draft}", turn)


def cos(*lengths: int) -> Schedule:
    """Alternate proposals for two members, CoS' Algorithm 2 for more: `lengths[i]` belongs to member i as listed.

    The member that has scored least scores all open proposals, and what it says about the position behind them is its
    own first proposal. After a rejection the default proposer starts again.

    Raises:
        ConfigurationError: a length is below 1.
    """
    drafts = _lengths(lengths)

    def turn(view: View) -> Turn:
        member = view.least_scored() if view.open else view.proposer
        return Turn((member,), drafts[member])

    return Schedule("cos:" + ",".join(map(str, drafts)), turn, len(drafts))


def risky(length: int) -> Schedule:
    """The default proposer drafts until `length` risky tokens are open and the next one would be risky too.

    Made for `drawn`: a position is risky if another member than the proposer is drawn for it, else its proposal stands.
    A block ends just before a risky position, whose token the checking member then draws itself. Members run only where
    they are drawn. `risky:0` is the Mixture-like Ensemble (arXiv 2605.00419). For other combinations all is risky.

    Raises:
        ConfigurationError: length is negative.
    """
    length = require_count("the length of risky", length, 0)

    def turn(view: View) -> Turn:
        ours = view.drawn[:1] == (view.proposer,)
        if view.open or ours or length == 0:
            return Turn((view.proposer if ours and not view.open else view.least_scored(),))
        dangers = [offset for offset, member in enumerate(view.drawn) if member != view.proposer]
        end = dangers[length] if len(dangers) > length else len(view.drawn)
        return Turn((view.proposer,), end or length)

    return Schedule(f"risky:{length}", turn)


def lookup(length: int) -> Schedule:
    """The member that has scored least scores all open proposals and proposes a token; the text proposes the next ones.

    What followed the last tokens where they stood before, in the prompt or the output, is proposed for `length` more
    positions. Pays where the output repeats the text: edits, extraction, code.

    Raises:
        ConfigurationError: length is below 1.
    """
    (most,) = _lengths([length])
    return Schedule(f"lookup:{most}", lambda view: Turn((view.least_scored(),), 1, most), certain=True)


def relay(length: int) -> Schedule:
    """The default proposer drafts `length` tokens behind what each other member proposes.

    So every forward of a member decides a whole block: for a small proposer and several large members.

    Raises:
        ConfigurationError: length is below 1.
    """
    (draft,) = _lengths([length])

    def turn(view: View) -> Turn:
        if view.open == 0 or view.scored[view.proposer] < view.open:
            return Turn((view.proposer,), draft)
        return Turn((view.least_scored(),), 1)

    return Schedule(f"relay:{draft}", turn)


def _lengths(values: Sequence[int]) -> tuple[int, ...]:
    if not values:
        raise ConfigurationError("cos needs one draft length per member")
    return tuple(require_count("a draft length", value, 1) for value in values)
