"""Closed formulas for the expected seconds per token of each schedule, from times and acceptance rates.

The formulas for one row describe a pipeline. In turn i, a member scores all open positions, and then a block of tokens
is proposed. With n members, a block is decided n - 1 turns after the turn that proposed it, because then all n members
have scored it. Each proposal is accepted with its own probability, independently of the other proposals. After a
rejection, the pipeline starts anew after the token that replaces the rejected proposal. All times are in seconds.
"""

from collections.abc import Sequence
from itertools import cycle, islice

from unisono.auto.setting import Setting

BEYOND = 24  # number of turns of a pipeline that are counted; later turns are rarely reached
LEAST = 0.02  # later turns are not counted either if they are reached with a smaller probability
CYCLES = 12  # number of cycles after which the shares of rows in each state hardly change


def alternating(setting: Setting, start: int, lengths: Sequence[int]) -> float:
    """Return the seconds per token of `cos` if the member `start` proposes first.

    `lengths` has the draft length of each member.
    """
    order = [start, *(member for member in setting.scorers if member != start)]
    total, count = sum(lengths[member] for member in order), len(order)
    makes = [setting.drafting(member, lengths[member] - 1) for member in order]
    # Before the first block is decided, each member scores the blocks of the members before it
    seconds, open = 0.0, 0
    for member, make in zip(order[:-1], makes, strict=False):
        seconds += setting.scoring(member, open + 1) + make
        open += lengths[member]
    scores = [setting.scoring(member, total - lengths[member] + 1) for member in order]
    decided = [powers(setting.rates[member], lengths[member]) for member in order]
    stands = [setting.rates[member] ** lengths[member] for member in order]
    tokens, chance = 0.0, 1.0  # the chance that all blocks so far were accepted
    for turn in range(count - 1, BEYOND):
        member, owner = turn % count, (turn + 1) % count
        seconds += chance * scores[member]
        tokens += chance * decided[owner]
        chance *= stands[owner]
        seconds += chance * makes[member]
        if chance < LEAST:
            break
    return seconds / tokens


def lockstep(setting: Setting, lengths: Sequence[int]) -> float:
    """Return the seconds per token of `cos` if the members take turns and each turn serves all rows.

    A row whose proposal was rejected goes on in the next turn, with the next member. `lengths` has the draft length of
    each member. The widest row of a forward has read no draft of the other members.
    """
    order, total = setting.scorers, sum(lengths[member] for member in setting.scorers)
    seconds = sum(
        setting.scoring(member, 1 + total - lengths[member]) + setting.drafting(member, lengths[member] - 1)
        for member in order
    )
    return seconds / _cycle([setting.rates[member] for member in order], [lengths[member] for member in order])


def _cycle(rates: Sequence[float], lengths: Sequence[int]) -> float:
    """Return the expected tokens that a row commits in one cycle, in which each of n members has one turn.

    In a turn, a member decides the block that was proposed n - 1 turns ago, and then proposes its own block. A
    rejection discards all open blocks, and the member proposes nothing.

    Args:
        rates: for each member, the probability that one of its proposals is accepted. lengths: its draft length.
    """
    members, tokens = len(rates), 0.0
    open = [1.0, *[0.0] * (members - 1)]  # the probability of each number of open blocks, from 0 to n - 1
    for _ in range(CYCLES):
        tokens = 0.0
        for turn in range(members):
            owner = (turn + 1) % members
            decided = open[-1]
            stands = decided * rates[owner] ** lengths[owner]
            tokens += decided * powers(rates[owner], lengths[owner])
            open = [decided - stands, *open[:-1]]
            open[-1] += stands
    return tokens


def relayed(setting: Setting, helper: int, length: int) -> float:
    """Return the seconds per token of `relay`: the helper drafts `length` tokens after each member's proposal."""
    order, ahead = setting.scorers, [setting.rates[helper]] * length
    draft = setting.scoring(helper, 2) + setting.drafting(helper, length - 1)
    turns = list(islice(cycle(order), BEYOND))
    open = [length + (length + 1) * min(turn, len(order) - 1) for turn in range(BEYOND)]
    scores = [setting.scoring(member, count + 1) for member, count in zip(turns, open, strict=True)]
    scores[0] += draft
    chains = [ahead, *([setting.rates[member], *ahead] for member in turns)]
    return _pipeline(scores, [draft] * BEYOND, chains, len(order))


def drafted(setting: Setting, helper: int, length: int) -> float:
    """Return the seconds per token of `speculative`, in which the helper drafts `length` tokens.

    The formula assumes that the helper does not score the token after its draft.
    """
    draft = setting.scoring(helper, 2) + setting.drafting(helper, length - 1)
    seconds = draft + sum(setting.scoring(member, length + 1) for member in setting.scorers)
    return seconds / powers(setting.rates[helper], length + 1)


def drawn(setting: Setting, proposer: int, odd: float, length: int) -> float:
    """Return the seconds per token of `risky:length`.

    A block ends before a position for which another member is drawn.
    """
    if length == 0:
        return setting.mixture()
    share, rate = 1 - odd, setting.rates[proposer]
    certain = (length + 1) * odd / share  # expected number of positions in a block for which the proposer is drawn
    width = 1 + round(length + certain)
    checks = 0.0
    for member, other in enumerate(setting.odds):
        if member != proposer and other:
            checks += (1 - (1 - other / share) ** (length + 1)) * setting.scoring(member, width)
    draft = setting.turn + setting.drafting(proposer, 1) * (length + certain)
    return (checks + draft) / (powers(rate, length + 1) / share)


def _pipeline(
    scores: Sequence[float], makes: Sequence[float], chains: Sequence[Sequence[float]], members: int
) -> float:
    """Return the seconds per token of a pipeline. In turn i, open positions are scored, and then block i is proposed.

    Block i is decided by turn i + members - 1.

    Args:
        scores: for each turn, the seconds for scoring.
        makes: for each turn, the seconds for proposing.
        chains: for each block, a sequence with one acceptance probability per proposal.
    """
    seconds, tokens, chance = sum(scores[: members - 1]) + sum(makes[: members - 1]), 0.0, 1.0
    for score, make, chain in zip(scores[members - 1 :], makes[members - 1 :], chains, strict=False):
        seconds += chance * score
        for rate in chain:
            tokens += chance
            chance *= rate
        seconds += chance * make
        if chance < LEAST:
            break
    return seconds / tokens


def powers(rate: float, count: int) -> float:
    """Return 1 + a + ... + a^(count - 1), where a is `rate`.

    This is the expected number of committed tokens for a draft of count - 1 proposals. One of these tokens is the token
    after the accepted proposals.
    """
    return sum(rate**power for power in range(count))
