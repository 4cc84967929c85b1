"""Which schedule should be fastest, by closed forms: from what forwards take and how often proposals are accepted.

The forms describe a pipeline. In turn i a member scores all open positions, then a block of proposals is made. A block is
decided n - 1 turns after its own, when all n members have scored it. Each proposal is accepted with its own chance,
independently of the others. After a rejection the pipeline starts anew; the token drawn there counts too. All times are
seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

from unisono.decoding.policy import Schedule, Turn, View
from unisono.decoding.schedules import cos, relay, risky, speculative, standard

LENGTHS = (1, 2, 3, 4, 6, 8)
RISKY = range(7)
BEYOND = 24  # turns of a pipeline that are counted; few get so far
MARGIN = 1.03  # how much faster than `standard` a plan must seem to be


@dataclass(frozen=True)
class Setting:
    """What plans are judged by.

    needed: members that must score every position; others only propose. start: the member that proposes first if another
    one is not better. forwards: per member, seconds of a forward of 0, 1, ... tokens. turn, draft: seconds outside of
    forwards that a turn takes, and that each proposal behind its first takes. rates: per member, how often its proposals
    are accepted. odds: if a member is drawn for each position, the probability of each; `rates` are then those where
    another member is drawn. rows: how many share a forward if all of them need it. twins: groups of needed members that
    score together, with the seconds of their common forwards.
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
        """The needed members, but only one of each group of twins: its others score along with it."""
        along = [each for group in self.twins for each in group if each != self._first(group)]
        return tuple(member for member in self.needed if member not in along)

    def _first(self, group: tuple[int, ...]) -> int:
        return self.start if self.start in group else group[0]

    def times(self, member: int) -> Sequence[float]:
        """Return the seconds of a forward of 0, 1, ... tokens in which the member scores, its twins included."""
        return next((times for group, times in self.twins.items() if member in group), self.forwards[member])

    def scoring(self, member: int, tokens: int) -> float:
        """Return the seconds of a turn in which the member scores so many open positions."""
        times = self.times(member)
        return self.turn + times[min(tokens, len(times) - 1)]

    def drafting(self, member: int, tokens: int) -> float:
        """Return the seconds of so many more proposals of a member that has scored all open positions."""
        return tokens * (self.forwards[member][1] + self.draft)

    def standard(self) -> float:
        """Return the seconds per token without proposals."""
        if self.odds:
            return sum(odd * self.scoring(member, 2) for member, odd in enumerate(self.odds)) / self.share()
        return sum(self.scoring(member, 1) for member in self.scorers)

    def share(self) -> float:
        """Return the share of rows that a forward serves if every row waits for the member that is drawn for it.

        The largest group of rows is served, and spreads over all members again: 2 / (n + 1) of n equally likely members.
        """
        return max(1 / self.rows, 2 / (1 + sum(odd > 0 for odd in self.odds)))


@dataclass(frozen=True)
class Plan:
    """A schedule, the seconds per token that it should take, and the member that proposes first; None for the default."""

    schedule: Schedule
    seconds: float
    start: int | None = None

    def turn(self, view: View) -> Turn:
        return self.schedule.turn(view if self.start is None else replace(view, proposer=self.start))


def best(setting: Setting) -> Plan:
    """Return the fastest plan; `standard` unless another one is clearly faster."""
    if setting.odds:
        return min(_drawing(setting), key=lambda plan: plan.seconds)
    plain = Plan(standard(), setting.standard())
    others = [*_alternating(setting), *_drafting(setting)]
    fastest = min(others, key=lambda plan: plan.seconds, default=plain)
    return fastest if fastest.seconds * MARGIN < plain.seconds else plain


def _alternating(setting: Setting) -> Iterator[Plan]:
    """Yield plans of `cos` with the best draft length of each member; of two members, either may begin."""
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
        # Equally good members keep the row's own order, in which the rows of a batch stay in step
        own = start == setting.start
        yield Plan(cos(*lengths), seconds * (1 if own or start == usual else MARGIN), None if own else start)


def _drafting(setting: Setting) -> Iterator[Plan]:
    """Yield plans in which a member that is not needed drafts: once per round, or ahead of each needed member."""
    for member in range(len(setting.forwards)):
        if member not in setting.needed:
            for length in LENGTHS:
                yield Plan(speculative(length), drafted(setting, member, length), member)
                if len(setting.scorers) > 1:
                    yield Plan(relay(length), relayed(setting, member, length), member)


def _drawing(setting: Setting) -> Iterator[Plan]:
    """Yield plans of `risky` with any member as proposer; for several rows also `cos`, which keeps them in step."""
    for member in range(len(setting.forwards)):
        odd = setting.odds[member] if member < len(setting.odds) else 0.0
        for length in RISKY if odd < 1 and setting.rows == 1 else [0]:
            yield Plan(risky(length), drawn(setting, member, odd, length), member)
    if setting.rows > 1:
        pairs = zip(setting.rates, setting.odds, strict=False)
        standing = [odd + (1 - odd) * rate for rate, odd in pairs]
        yield from _alternating(replace(setting, rates=[*standing, *setting.rates[len(standing) :]], odds=()))


def alternating(setting: Setting, start: int, lengths: Sequence[int]) -> float:
    """Return the seconds per token of `cos`, if the member `start` begins."""
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
    """Return the seconds per token if a helper drafts behind the proposal of each member."""
    order, ahead = setting.scorers, [setting.rates[helper]] * length
    draft = setting.scoring(helper, 2) + setting.drafting(helper, length - 1)
    turns = list(islice(cycle(order), BEYOND))
    open = [length + (length + 1) * min(turn, len(order) - 1) for turn in range(BEYOND)]
    scores = [setting.scoring(member, count + 1) for member, count in zip(turns, open, strict=True)]
    scores[0] += draft
    chains = [ahead, *([setting.rates[member], *ahead] for member in turns)]
    return _pipeline(scores, [draft] * BEYOND, chains, len(order))


def drafted(setting: Setting, helper: int, length: int) -> float:
    """Return the seconds per token of `speculative`, if the helper need not score behind its draft."""
    draft = setting.scoring(helper, 2) + setting.drafting(helper, length - 1)
    seconds = draft + sum(setting.scoring(member, length + 1) for member in setting.scorers)
    return seconds / powers(setting.rates[helper], length + 1)


def drawn(setting: Setting, proposer: int, odd: float, length: int) -> float:
    """Return the seconds per token of `risky`: a block ends just before a position that another member is drawn for."""
    if length == 0:
        return setting.standard()
    share, rate = 1 - odd, setting.rates[proposer]
    certain = (length + 1) * odd / share  # positions in a block that the proposer is drawn for
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
    """Return the seconds per token, if turn i scores and then proposes, and turn i + members - 1 decides block i.

    scores, makes: seconds per turn. chains: per block, the chance that each of its proposals is accepted.
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
    """Return 1 + a + ... + a^(count - 1): the tokens of a draft of count - 1 proposals and the one behind them."""
    return sum(rate**power for power in range(count))
