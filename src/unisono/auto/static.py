"""The schedule that should pay by the members' sizes, before anything was measured."""

from collections.abc import Sequence

from unisono.decoding.schedules import Schedule, cos, risky, speculative, standard

SMALL = 0.4  # of the largest member's parameters
NEARLY_ALL = 0.9  # of the law
CHEAPEST = 0.1  # of the others' time per token: what the smallest member takes at least
AGREEMENT = 0.7  # of two members, before anything is known of them
MOST_RISKY = 4


def automatic(parameters: Sequence[int], needed: Sequence[int], weights: Sequence[float] = ()) -> Schedule:
    """The schedule that should pay for members of these sizes.

    `cos`, since one draft token each never loses against `standard` for two members (CoS, theory). A member whose own
    law is nearly the target (the expert of a contrastive pair) drafts two: its proposals stand. Otherwise a member at
    most `SMALL` times the size of the largest drafts four. Where one member alone fixes the law, it is drafted for by a
    small one, or decodes by itself.
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
    """The `risky` schedule that should pay: most tokens per time, by its closed form.

    With `share` of the positions risky, agreement a, and a proposer that costs c of a check, a block of k risky tokens
    brings `(1 - a^(k+1)) / (share (1 - a))` tokens at the cost of `1 + c ((k + 1) (1 - share) / share + k)`.
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
