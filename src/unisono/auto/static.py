"""The schedule with the shortest expected time, computed from the sizes of the members without any measurement."""

from collections.abc import Sequence

from unisono.decoding.policy import Schedule
from unisono.decoding.schedules import cos, risky, speculative, standard

SMALL = 0.4  # the size of a small member is at most this fraction of the size of the largest member
NEARLY_ALL = 0.9  # the law is nearly the law of one member if this member has at least this fraction of all weights
CHEAPEST = 0.1  # the least assumed time of the smallest member, as a share of the time of a check
AGREEMENT = 0.7  # acceptance of a risky proposal, before any measurement
MOST_RISKY = 4


def automatic(parameters: Sequence[int], needed: Sequence[int], weights: Sequence[float] = ()) -> Schedule:
    """Return the schedule with the shortest expected time for members of these sizes.

    The result is `cos` if the law needs several members. For two members, `cos` with one draft token per member is
    never slower than `standard` (CoS, theory). If the law is nearly the law of one member, as for the expert of a
    contrastive pair, this member drafts two tokens, because most of them are accepted. Otherwise, members of at most
    `SMALL` times the largest size draft four tokens.

    If the law needs one member only, a small other member drafts for it. Without a small other member, the needed
    member decodes alone.

    Args:
        parameters: the number of weights of each member.
        needed: the members that the law needs.
        weights: the weight of each member in the law, or empty if unknown.
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
    """Return the schedule `risky:k` with the most tokens per second, by its closed formula.

    s is the share of positions that are risky. a is the probability that a risky proposal is accepted. c is the time of
    one token of the proposer, divided by the time of one check. For a block of k risky tokens, the formula is:

    tokens: (1 - a^(k+1)) / (s (1 - a))
    cost:   1 + c ((k + 1) (1 - s) / s + k)
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
