"""Closed formulas for speed-ups, to compare with measurements.

`speculative` and `alternating` are from the CoS paper (arXiv 2502.01662, section 4) and use its letters. `acceptance` a is
the probability that a proposal is accepted. `cost` c is the time of one call of the default proposer over one call of the
verifier. Standard decoding costs 1 + c per token. `risky` is our own, for `drawn`. Module `replay` covers three members,
block and coupled verification, and laws that are certain early.
"""

from unisono.auto.planner import powers


def speculative(acceptance: float, cost: float, length: int) -> float:
    """Return the speed-up of Naive-CoS with drafts of g tokens: (1 - a^g)(1 + c) / ((1 - a)(1 + c g))."""
    return powers(acceptance, length) * (1 + cost) / (1 + cost * length)


def alternating(acceptance: float, cost: float, proposer_length: int, verifier_length: int) -> float:
    """Return the speed-up of two members that propose in turn: (1 - a^gq)(1 + c) / ((1 - a)(1 + c gq - a^gp c))."""
    saved = acceptance**verifier_length * cost
    return powers(acceptance, proposer_length) * (1 + cost) / (1 + cost * proposer_length - saved)


def risky(agreement: float, cost: float, share: float, length: int) -> float:
    """Return the speed-up of `risky:k` with drawn members.

    A block of k risky tokens yields (1 - a^(k+1)) / (l (1 - a)) tokens and costs 1 + c ((k+1)(1-l)/l + k).

    Args:
        agreement: a, the probability that a risky proposal is accepted: 1 - TV of the two members.
        share: l, the probability that the verifier is drawn.
        length: k. The Mixture-like Ensemble (arXiv 2605.00419) has k = 0; then a has no effect.
    """
    tokens = powers(agreement, length + 1) / share
    return tokens * (1 + cost) / (1 + cost * ((length + 1) * (1 - share) / share + length))


def of(schedule: str, proposer: int, cost: float | None, acceptance: float | None) -> float | None:
    """Return the paper's formula for a schedule of two members. None: it has no formula, or a value is missing."""
    name, _, lengths = schedule.partition(":")
    if acceptance is None or cost is None or name not in ("speculative", "cos"):
        return None
    drafts = [int(length) for length in lengths.split(",")]
    if name == "speculative":
        return speculative(acceptance, cost, drafts[0])
    return alternating(acceptance, cost, drafts[proposer], drafts[1 - proposer])
