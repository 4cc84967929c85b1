"""The schedule that should be fastest by the members' sizes, before anything is measured."""

from collections.abc import Sequence

from unisono.decoding.policy import Schedule
from unisono.decoding.schedules import cos, risky, speculative, standard

SMALL = 0.4  # of the largest member's parameters
NEARLY_ALL = 0.9  # of the law
CHEAPEST = 0.1  # of the others' time per token: the least time that the smallest member is taken to need
AGREEMENT = 0.7  # of two members, before anything is known of them
MOST_RISKY = 4


def automatic(parameters: Sequence[int], needed: Sequence[int], weights: Sequence[float] = ()) -> Schedule:
    """Return the schedule that should be fastest for members of these sizes.

    It is `cos`, since one draft token per member is never slower than `standard` for two members (CoS, theory). A member
    whose law is nearly the target (the expert of a contrastive pair) drafts two tokens, since they are mostly accepted.
    Otherwise a member of at most `SMALL` times the size of the largest drafts four tokens. If the law needs one member
    only, a small one drafts for it, or it decodes alone.
    """
    if len(needed) == 1:
        others = [size for member, size in enumerate(parameters) if member != needed[0]]
        return speculative(4) if others and min(others) <= SMALL * parameters[needed[0]] else standard()
    heaviest = max(weights, default=0.0)
    if heaviest > 0 and heaviest >= NEARLY_ALL * sum(weights) > 0:
        return cos(*(2 if weight == heaviest else 1 for weight in weights))
    largest = max(parameters)
    return cos(*(4 if size <= SMALL * largest else 1 for size in parameters))


def drafting_ahead(parameters: Sequence[int], odds: Sequence[float]) -> Schedule:
    """Return the `risky` schedule that gives the most tokens per time, by its closed form.

    A share s of the positions is risky, a is the agreement, and a token of the proposer costs c times a check. Then a block of
    k risky tokens gives `(1 - a^(k+1)) / (s (1 - a))` tokens at a cost of `1 + c ((k + 1) (1 - s) / s + k)`.
    """
    proposer = min(range(len(odds)), key=lambda member: (parameters[member], -odds[member], member))
    share = 1 - odds[proposer]
    if share <= 0:
        return risky(0)
    others = [member for member in range(len(odds)) if member != proposer]
    check = sum(parameters[member] * odds[member] for member in others) / share
    cost = max(CHEAPEST, parameters[proposer] / check)

    def speed(length: int) -> float:
        tokens = (1 - AGREEMENT ** (length + 1)) / (share * (1 - AGREEMENT))
        return tokens / (1 + cost * ((length + 1) * (1 - share) / share + length))

    return risky(max(range(MOST_RISKY + 1), key=speed))
