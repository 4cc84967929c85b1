"""Speed-ups that closed formulas promise, to hold measurements against.

`speculative` and `alternating` are the CoS paper's (arXiv 2502.01662, section 4), with its letters: `acceptance` a, the
probability that a proposal is accepted; `cost` c, time of one call of the default proposer over one of the verifier.
Standard decoding costs 1 + c per token. `risky` is ours, for `drawn`. What no formula covers - three members, block and
coupled verification, laws that are certain early - is played by the decode loop itself: see `replay`.
"""

from unisono.auto.planner import powers


def speculative(acceptance: float, cost: float, length: int) -> float:
    """Naive-CoS, the proposer drafts `length` tokens: (1 - a^g)(1 + c) / ((1 - a)(1 + c g))."""
    return powers(acceptance, length) * (1 + cost) / (1 + cost * length)


def alternating(acceptance: float, cost: float, proposer_length: int, verifier_length: int) -> float:
    """Alternate proposals of two members: (1 - a^gq)(1 + c) / ((1 - a)(1 + c gq - a^gp c))."""
    saved = acceptance**verifier_length * cost
    return powers(acceptance, proposer_length) * (1 + cost) / (1 + cost * proposer_length - saved)


def risky(agreement: float, cost: float, share: float, length: int) -> float:
    """Drawing with drafts: a block of k risky tokens brings (1 - a^(k+1)) / (l (1 - a)) tokens for 1 + c ((k+1)(1-l)/l + k).

    Args:
        agreement: a, probability that a risky proposal is accepted, 1 - TV of the two members. share: l, how often the
            verifier is drawn. length: k; 0 is the Mixture-like Ensemble (arXiv 2605.00419), whatever a.
    """
    tokens = powers(agreement, length + 1) / share
    return tokens * (1 + cost) / (1 + cost * ((length + 1) * (1 - share) / share + length))


def of(schedule: str, proposer: int, cost: float | None, acceptance: float | None) -> float | None:
    """The paper's formula for a schedule of two members; None where it has none, or something was not measured."""
    name, _, lengths = schedule.partition(":")
    if acceptance is None or cost is None or name not in ("speculative", "cos"):
        return None
    drafts = [int(length) for length in lengths.split(",")]
    if name == "speculative":
        return speculative(acceptance, cost, drafts[0])
    return alternating(acceptance, cost, drafts[proposer], drafts[1 - proposer])
