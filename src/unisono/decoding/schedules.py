"""The built-in schedules. Each schedule is a rule that maps a `View` to a turn."""

from collections.abc import Sequence
from functools import cache

from unisono.decoding.policy import Schedule, Turn, View
from unisono.errors import ConfigurationError, require_count

LOOKUP = "lookup"  # the proposer that copies from the text


def standard() -> Schedule:
    """Return the reference schedule. For each position, all members score the position, and then a token is drawn."""
    return Schedule("standard", lambda view: _scoring(view.least_scored()), lazy=False)


def parallel() -> Schedule:
    """Return a schedule like `standard` in which all members run at the same time (CoS' WE-P and CD-P baselines)."""
    return Schedule("parallel", lambda view: Turn(view.needed))


def speculative(length: int) -> Schedule:
    """Return a schedule where the default proposer drafts `length` tokens and then all members score them (Naive-CoS).

    Raises:
        ConfigurationError: length is below 1.
    """
    (draft,) = _lengths([length])

    def turn(view: View) -> Turn:
        if view.open == 0:
            return _drafting(view.proposer, draft)
        return _scoring(view.least_scored())

    return Schedule(f"speculative:{draft}", turn)


def cos(*lengths: int) -> Schedule:
    """Return the schedule of CoS' Algorithm 2: members take turns, and member i drafts `lengths[i]` tokens in its turn.

    In each turn, the member with the fewest scored positions scores all open proposals. Its scores after the last
    proposal give the first token of its own draft. After a rejection, the default proposer starts again.

    Raises:
        ConfigurationError: a length is below 1.
    """
    drafts = _lengths(lengths)

    def turn(view: View) -> Turn:
        member = view.least_scored() if view.open else view.proposer
        return _drafting(member, drafts[member])

    return Schedule("cos:" + ",".join(map(str, drafts)), turn, len(drafts))


def risky(length: int) -> Schedule:
    """Return a schedule for the combination `drawn`. A draft covers at most `length` risky positions.

    The default proposer drafts. A position is risky if the member drawn for it is not the default proposer. Proposals
    at other positions are always accepted. The draft ends before risky position number `length + 1`. The token of that
    position is drawn from the law of the member drawn for that position. A member other than the default proposer runs
    only if the member is drawn for a position. `risky:0` is the Mixture-like Ensemble (arXiv 2605.00419). With
    combinations other than `drawn`, all positions are risky.

    Raises:
        ConfigurationError: length is negative.
    """
    length = require_count("the length of risky", length, 0)

    def turn(view: View) -> Turn:
        ours = view.drawn[:1] == (view.proposer,)
        if view.open or ours or length == 0:
            return _scoring(view.proposer if ours and not view.open else view.least_scored())
        dangers = [offset for offset, member in enumerate(view.drawn) if member != view.proposer]
        end = dangers[length] if len(dangers) > length else len(view.drawn)
        return _drafting(view.proposer, end or length)

    return Schedule(f"risky:{length}", turn)


def lookup(length: int, proposer: str = LOOKUP) -> Schedule:
    """Return a schedule with prompt lookup. A member scores all open proposals and proposes one token.

    Then `proposer` proposes up to `length` more tokens: `lookup` finds an earlier occurrence of the last tokens and
    copies the tokens after it. This is fast if the output repeats the text, for example in edits, extraction and code.

    Raises:
        ConfigurationError: length is below 1.
    """
    (most,) = _lengths([length])

    def turn(view: View) -> Turn:
        member = view.least_scored()
        return Turn((member,), ((member, 1), (proposer, most)))

    return Schedule(f"{proposer}:{most}", turn, certain=True)


def relay(length: int) -> Schedule:
    """Return a schedule where the default proposer drafts `length` tokens after each proposal of another member.

    Use this schedule if the default proposer is small and the other members are large. Then each forward pass of a
    large member decides several tokens.

    Raises:
        ConfigurationError: length is below 1.
    """
    (draft,) = _lengths([length])

    def turn(view: View) -> Turn:
        if view.open == 0 or view.scored[view.proposer] < view.open:
            return _drafting(view.proposer, draft)
        return _drafting(view.least_scored(), 1)

    return Schedule(f"relay:{draft}", turn)


@cache
def _scoring(member: int) -> Turn:
    return Turn((member,))


@cache
def _drafting(member: int, length: int) -> Turn:
    return Turn((member,), ((member, length),))


def _lengths(values: Sequence[int]) -> tuple[int, ...]:
    if not values:
        raise ConfigurationError("cos needs one draft length per member")
    return tuple(require_count("a draft length", value, 1) for value in values)
