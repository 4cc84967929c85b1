"""The schedules of this package: rules that look at a `View` and at nothing else."""

from collections.abc import Sequence

from unisono.decoding.policy import Schedule, Turn, View
from unisono.errors import ConfigurationError, require_count

LOOKUP = "lookup"  # the proposer that copies from the text


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
            return _drafting(view.proposer, draft)
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
        return _drafting(member, drafts[member])

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
        return _drafting(view.proposer, end or length)

    return Schedule(f"risky:{length}", turn)


def lookup(length: int, proposer: str = LOOKUP) -> Schedule:
    """The member that has scored least scores all open proposals and proposes a token; the text proposes the next ones.

    What followed the last tokens where they stood before, in the prompt or the output, is proposed for `length` more
    positions. Pays where the output repeats the text: edits, extraction, code.

    Raises:
        ConfigurationError: length is below 1.
    """
    (most,) = _lengths([length])

    def turn(view: View) -> Turn:
        member = view.least_scored()
        return Turn((member,), ((member, 1), (proposer, most)))

    return Schedule(f"{proposer}:{most}", turn, certain=True)


def relay(length: int) -> Schedule:
    """The default proposer drafts `length` tokens behind what each other member proposes.

    So every forward of a member decides a whole block: for a small proposer and several large members.

    Raises:
        ConfigurationError: length is below 1.
    """
    (draft,) = _lengths([length])

    def turn(view: View) -> Turn:
        if view.open == 0 or view.scored[view.proposer] < view.open:
            return _drafting(view.proposer, draft)
        return _drafting(view.least_scored(), 1)

    return Schedule(f"relay:{draft}", turn)


def _drafting(member: int, length: int) -> Turn:
    return Turn((member,), ((member, length),))


def _lengths(values: Sequence[int]) -> tuple[int, ...]:
    if not values:
        raise ConfigurationError("cos needs one draft length per member")
    return tuple(require_count("a draft length", value, 1) for value in values)
