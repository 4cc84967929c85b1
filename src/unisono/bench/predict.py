"""Speed-ups that the CoS paper's formulas promise (arXiv 2502.01662, section 4), to hold measurements against.

Letters as there: `acceptance` a, the probability that a proposal is accepted; `cost` c, time of one call of the default
proposer over one of the verifier. Standard decoding costs 1 + c per token.
"""


def speculative(acceptance: float, cost: float, length: int) -> float:
    """Naive-CoS, the proposer drafts `length` tokens: (1 - a^g)(1 + c) / ((1 - a)(1 + c g))."""
    return _geometric(acceptance, length) * (1 + cost) / (1 + cost * length)


def alternating(acceptance: float, cost: float, proposer_length: int, verifier_length: int) -> float:
    """Alternate proposals of two members: (1 - a^gq)(1 + c) / ((1 - a)(1 + c gq - a^gp c))."""
    saved = acceptance**verifier_length * cost
    return _geometric(acceptance, proposer_length) * (1 + cost) / (1 + cost * proposer_length - saved)


def _geometric(acceptance: float, length: int) -> float:
    """1 + a + ... + a^(length - 1) = (1 - a^length) / (1 - a), for a = 1 too."""
    return sum(acceptance**power for power in range(length))
