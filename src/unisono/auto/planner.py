"""Choose the schedule with the shortest expected time per token, by closed formulas from times and acceptance rates.

The formulas describe a pipeline. In turn i, a member scores all open positions, and then a block of tokens is proposed.
With n members, a block is decided n - 1 turns after the turn that proposed it, because then all n members have scored
it. Each proposal is accepted with its own probability, independently of the other proposals. After a rejection, the
pipeline starts anew after the token that replaces the rejected proposal. All times are in seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

from unisono.decoding.policy import Schedule, Turn, View
from unisono.decoding.schedules import cos, relay, risky, speculative, standard

LENGTHS = (1, 2, 3, 4, 6, 8)
RISKY = range(7)
BEYOND = 24  # number of turns of a pipeline that are counted; later turns are rarely reached
MARGIN = 1.03  # a plan must be expected to be faster than `standard` by this factor


@dataclass(frozen=True)
class Setting:
    """The times and rates from which plans are computed.

    needed: the members that must score every position. All other members only propose.
    start: the member that proposes first unless another member is better.
    forwards: for each member, a sequence. Entry k is the seconds of a forward of k tokens.
    turn: the seconds that a turn takes outside of forwards.
    draft: the seconds outside of forwards that each proposal after the first proposal of a turn takes.
    rates: for each member, the probability that its proposal is accepted. If `odds` is not empty, the probability is
    for positions at which another member is drawn.
    odds: the probability of drawing each member for a position. Empty if no members are drawn.
    rows: the number of rows that share a forward of a member if all rows need this member.
    twins: groups of needed members that score together, with the seconds of their common forwards.
    """

    needed: tuple[int, ...]
    start: int
    forwards: Sequence[Sequence[float]]
    turn: float
    draft: float
    rates: Sequence[float]
    odds: tuple[float, ...] = ()
    rows: int = 1
    twins: Mapping[tuple[int, ...], Sequence[float]] = field(default_factory=dict)

    @property
    def scorers(self) -> tuple[int, ...]:
        """The needed members, with only one member of each group of twins, because twins score together."""
        along = [each for group in self.twins for each in group if each != self._first(group)]
        return tuple(member for member in self.needed if member not in along)

    def _first(self, group: tuple[int, ...]) -> int:
        return self.start if self.start in group else group[0]

    def times(self, member: int) -> Sequence[float]:
        """Return a sequence. Entry k is the seconds of a forward of k tokens for the member and its twins."""
        return next((times for group, times in self.twins.items() if member in group), self.forwards[member])

    def scoring(self, member: int, tokens: int) -> float:
        """Return the seconds of a turn in which the member scores `tokens` open positions."""
        times = self.times(member)
        return self.turn + times[min(tokens, len(times) - 1)]

    def drafting(self, member: int, tokens: int) -> float:
        """Return the seconds for `tokens` further proposals of a member that has scored all open positions."""
        return tokens * (self.forwards[member][1] + self.draft)

    def standard(self) -> float:
        """Return the seconds per token without proposals."""
        if self.odds:
            return sum(odd * self.scoring(member, 2) for member, odd in enumerate(self.odds)) / self.share()
        return sum(self.scoring(member, 1) for member in self.scorers)

    def share(self) -> float:
        """Return the expected share of the rows that one forward serves, if a member is drawn for each row.

        Each row waits for its drawn member. A forward serves the largest group of waiting rows. Then new members are
        drawn for these rows. For n members with equal probabilities, the share is 2 / (n + 1).
        """
        return max(1 / self.rows, 2 / (1 + sum(odd > 0 for odd in self.odds)))


@dataclass(frozen=True)
class Plan:
    """A schedule, its expected seconds per token, and the member that proposes first.

    If `start` is None, the default proposer proposes first.
    """

    schedule: Schedule
    seconds: float
    start: int | None = None

    def turn(self, view: View) -> Turn:
        return self.schedule.turn(view if self.start is None else replace(view, proposer=self.start))


def best(setting: Setting) -> Plan:
    """Return the plan with the fewest expected seconds per token.

    If no members are drawn, return `standard` unless another plan is clearly faster.
    """
    if setting.odds:
        return min(_drawing(setting), key=lambda plan: plan.seconds)
    plain = Plan(standard(), setting.standard())
    others = [*_alternating(setting), *_drafting(setting)]
    fastest = min(others, key=lambda plan: plan.seconds, default=plain)
    return fastest if fastest.seconds * MARGIN < plain.seconds else plain


def _alternating(setting: Setting) -> Iterator[Plan]:
    """Yield plans of `cos` with the best draft length of each member.

    With two members, yield one plan for each first proposer.
    """
    if len(setting.scorers) < 2:
        return
    members = sorted(setting.scorers, key=lambda member: setting.times(member)[1])
    usual = setting.start if setting.start in setting.scorers else members[0]
    for start in setting.scorers if len(setting.scorers) == 2 else [usual]:
        lengths = [1] * len(setting.forwards)
        for member in members:
            choices = [[*lengths[:member], length, *lengths[member + 1 :]] for length in LENGTHS]
            lengths = min(choices, key=lambda each: alternating(setting, start, each))
        seconds = alternating(setting, start, lengths)
        # Equally good members keep the row's own order, which keeps the rows of a batch in step
        own = start == setting.start
        yield Plan(cos(*lengths), seconds * (1 if own or start == usual else MARGIN), None if own else start)


def _drafting(setting: Setting) -> Iterator[Plan]:
    """Yield plans for each draft model (a member that is not needed).

    The draft model drafts once per round, or before each needed member.
    """
    for member in range(len(setting.forwards)):
        if member not in setting.needed:
            for length in LENGTHS:
                yield Plan(speculative(length), drafted(setting, member, length), member)
                if len(setting.scorers) > 1:
                    yield Plan(relay(length), relayed(setting, member, length), member)


def _drawing(setting: Setting) -> Iterator[Plan]:
    """Yield plans of `risky` for each possible proposer.

    If several rows run, also yield plans of `cos`, which keep the turns of the rows alike.
    """
    for member in range(len(setting.forwards)):
        odd = setting.odds[member] if member < len(setting.odds) else 0.0
        for length in RISKY if odd < 1 and setting.rows == 1 else [0]:
            yield Plan(risky(length), drawn(setting, member, odd, length), member)
    if setting.rows > 1:
        pairs = zip(setting.rates, setting.odds, strict=False)
        standing = [odd + (1 - odd) * rate for rate, odd in pairs]
        yield from _alternating(replace(setting, rates=[*standing, *setting.rates[len(standing) :]], odds=()))


def alternating(setting: Setting, start: int, lengths: Sequence[int]) -> float:
    """Return the seconds per token of `cos` if the member `start` proposes first.

    `lengths` has the draft length of each member.
    """
    order = [start, *(member for member in setting.scorers if member != start)]
    scores, makes, chains = [], [], []
    open = 0
    for turn, member in enumerate(islice(cycle(order), BEYOND)):
        scores.append(setting.scoring(member, open + 1))
        makes.append(setting.drafting(member, lengths[member] - 1))
        chains.append([setting.rates[member]] * lengths[member])
        decided = turn - len(order) + 1
        open += lengths[member] - (len(chains[decided]) if decided >= 0 else 0)
    return _pipeline(scores, makes, chains, len(order))


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
        return setting.standard()
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
        if chance < 0.02:
            break
    return seconds / tokens


def powers(rate: float, count: int) -> float:
    """Return 1 + a + ... + a^(count - 1), where a is `rate`.

    This is the expected number of committed tokens for a draft of count - 1 proposals. One of these tokens is the token
    after the accepted proposals.
    """
    return sum(rate**power for power in range(count))
