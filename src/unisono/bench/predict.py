"""Closed formulas for speed-ups over standard decoding, to compare with measured speed-ups.

`speculative` and `alternating` are from the CoS paper (arXiv 2502.01662, section 4) and use the letters of the paper.
`acceptance` a is the probability that a proposal is accepted. `cost` c is the time of one call of the default proposer,
divided by the time of one call of the verifier. Standard decoding costs 1 + c per token.

`risky` is not from the paper. It is the formula for combinations that draw a member for each position. The module
`replay` also covers three members, block and coupled verification, and combinations whose law is known before all
members have run.
"""

from unisono.auto.formulas import powers


def speculative(acceptance: float, cost: float, length: int) -> float:
    """Return the speed-up of Naive-CoS with drafts of g tokens: (1 - a^g)(1 + c) / ((1 - a)(1 + c g))."""
    return powers(acceptance, length) * (1 + cost) / (1 + cost * length)


def alternating(acceptance: float, cost: float, proposer_length: int, verifier_length: int) -> float:
    """Return the speed-up of two members that propose in turn: (1 - a^gq)(1 + c) / ((1 - a)(1 + c gq - a^gp c)).

    gq is `proposer_length`, the draft length of the proposer. gp is `verifier_length`, the draft length of the
    verifier.
    """
    saved = acceptance**verifier_length * cost
    return powers(acceptance, proposer_length) * (1 + cost) / (1 + cost * proposer_length - saved)


def risky(agreement: float, cost: float, share: float, length: int) -> float:
    """Return the speed-up of `risky:k` for a combination that draws one of two members for each position.

    A block of k risky tokens yields (1 - a^(k+1)) / (l (1 - a)) tokens and costs 1 + c ((k+1)(1-l)/l + k).

    Args:
        agreement: a, the probability that a risky proposal is accepted. It is 1 - TV of the two members.
        share: l, the probability that the verifier is drawn.
        length: k, the number of risky tokens in a block. The Mixture-like Ensemble (arXiv 2605.00419) has k = 0. For k
            = 0, a has no effect.
    """
    tokens = powers(agreement, length + 1) / share
    return tokens * (1 + cost) / (1 + cost * ((length + 1) * (1 - share) / share + length))


def of(schedule: str, proposer: int, cost: float | None, acceptance: float | None) -> float | None:
    """Return the speed-up of a schedule of two members by the formulas of the CoS paper.

    Return None if the schedule has no formula, or if `cost` or `acceptance` is None.
    """
    name, _, lengths = schedule.partition(":")
    if acceptance is None or cost is None or name not in ("speculative", "cos"):
        return None
    drafts = [int(length) for length in lengths.split(",")]
    if name == "speculative":
        return speculative(acceptance, cost, drafts[0])
    return alternating(acceptance, cost, drafts[proposer], drafts[1 - proposer])
