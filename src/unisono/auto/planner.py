"""Which schedule should be fastest, from what forwards take and how often proposals stand: closed forms, no trial runs.

A pipeline: in turn i a member scores what is open, then a block of proposals is made; a block is decided n - 1 turns after
its own, when all n members have scored it. Each proposal stands with its chance, whatever the others do; after one that
does not the pipeline starts anew, and the token that replaces it counts too. All times are seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from unisono.decoding.schedules import Schedule, Turn, View, cos, relay, risky, speculative, standard

LENGTHS = (1, 2, 3, 4, 6, 8)
RISKY = range(7)
BEYOND = 24  # turns of a pipeline that are counted; few get so far
MARGIN = 1.03  # how much faster than `standard` a plan must seem to be


@dataclass(frozen=True)
class Setting:
    """What plans are judged by.

    needed: members that score every position; others only propose. start: who proposes first if that is as good as any.
    forwards: per member, seconds of a forward of 0, 1, ... tokens. turn, draft: seconds that a turn, and a proposal behind
    its first, take besides. rates: per member, how often its proposals stand. odds: if each position follows a member that
    is drawn for it, the chances of the members; `rates` are then those where another one is drawn. rows: how many share a
    forward if all of them want it.
    """

    needed: tuple[int, ...]
    start: int
    forwards: Sequence[Sequence[float]]
    turn: float
    draft: float
    rates: Sequence[float]
    odds: tuple[float, ...] = ()
    rows: int = 1

    def scoring(self, member: int, tokens: int) -> float:
        """A turn in which the member scores so many open positions."""
        times = self.forwards[member]
        return self.turn + times[min(tokens, len(times) - 1)]

    def drafting(self, member: int, tokens: int) -> float:
        """So many more proposals of a member that has scored all that is open."""
        return tokens * (self.forwards[member][1] + self.draft)

    def standard(self) -> float:
        """Seconds per token without proposals."""
        if self.odds:
            return sum(odd * self.scoring(member, 2) for member, odd in enumerate(self.odds)) / self.share()
        return sum(self.scoring(member, 1) for member in self.needed)

    def share(self) -> float:
        """Of the rows, those that a forward serves where every row waits for the member that is drawn for it.

        The largest group of rows is served, and spreads over all members again: of n equally likely ones, 2 / (n + 1).
        """
        return max(1 / self.rows, 2 / (1 + sum(odd > 0 for odd in self.odds)))


@dataclass(frozen=True)
class Plan:
    """A schedule, the seconds per token that it should take, and who proposes first; None for who always does."""

    schedule: Schedule
    seconds: float
    start: int | None = None

    def turn(self, view: View) -> Turn:
        return self.schedule.turn(view if self.start is None else replace(view, proposer=self.start))


def best(setting: Setting) -> Plan:
    """The fastest plan; `standard` unless another one is clearly faster."""
    if setting.odds:
        return min(_drawing(setting), key=lambda plan: plan.seconds)
    plain = Plan(standard(), setting.standard())
    others = [*_alternating(setting), *_drafting(setting)]
    fastest = min(others, key=lambda plan: plan.seconds, default=plain)
    return fastest if fastest.seconds * MARGIN < plain.seconds else plain


def _alternating(setting: Setting) -> Iterator[Plan]:
    """`cos`, either of two beginning, with one length after the other as long as it should be."""
    if len(setting.needed) < 2:
        return
    members = sorted(setting.needed, key=lambda member: setting.forwards[member][1])
    usual = setting.start if setting.start in setting.needed else members[0]
    for start in setting.needed if len(setting.needed) == 2 else [usual]:
        lengths = [1] * len(setting.forwards)
        for member in members:
            choices = [[*lengths[:member], length, *lengths[member + 1 :]] for length in LENGTHS]
            lengths = min(choices, key=lambda each: alternating(setting, start, each))
        seconds = alternating(setting, start, lengths)
        # Members that are as good keep to the row's own order, in which rows of a batch stay in step
        own = start == setting.start
        yield Plan(cos(*lengths), seconds * (1 if own or start == usual else MARGIN), None if own else start)


def _drafting(setting: Setting) -> Iterator[Plan]:
    """Somebody who is not needed drafts: for the members one after the other, or ahead of each of them."""
    for member in range(len(setting.forwards)):
        if member not in setting.needed:
            for length in LENGTHS:
                yield Plan(speculative(length), drafted(setting, member, length), member)
                if len(setting.needed) > 1:
                    yield Plan(relay(length), relayed(setting, member, length), member)


def _drawing(setting: Setting) -> Iterator[Plan]:
    """`risky`, with any member for the proposer; for several rows `cos`, which keeps them in step, or no drafts."""
    for member in range(len(setting.forwards)):
        odd = setting.odds[member] if member < len(setting.odds) else 0.0
        for length in RISKY if odd < 1 and setting.rows == 1 else [0]:
            yield Plan(risky(length), drawn(setting, member, odd, length), member)
    if setting.rows > 1:
        pairs = zip(setting.rates, setting.odds, strict=False)
        standing = [odd + (1 - odd) * rate for rate, odd in pairs]
        yield from _alternating(replace(setting, rates=[*standing, *setting.rates[len(standing) :]], odds=()))


def alternating(setting: Setting, start: int, lengths: Sequence[int]) -> float:
    """Seconds per token of `cos`, if this member begins."""
    order = [start, *(member for member in setting.needed if member != start)]
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
    """Seconds per token where a helper drafts behind the proposal of each member."""
    order, ahead = setting.needed, [setting.rates[helper]] * length
    draft = setting.scoring(helper, 2) + setting.drafting(helper, length - 1)
    turns = list(islice(cycle(order), BEYOND))
    open = [length + (length + 1) * min(turn, len(order) - 1) for turn in range(BEYOND)]
    scores = [setting.scoring(member, count + 1) for member, count in zip(turns, open, strict=True)]
    scores[0] += draft
    chains = [ahead, *([setting.rates[member], *ahead] for member in turns)]
    return _pipeline(scores, [draft] * BEYOND, chains, len(order))


def drafted(setting: Setting, helper: int, length: int) -> float:
    """Seconds per token of `speculative`, if the helper need not score behind its draft."""
    draft = setting.scoring(helper, 2) + setting.drafting(helper, length - 1)
    seconds = draft + sum(setting.scoring(member, length + 1) for member in setting.needed)
    return seconds / powers(setting.rates[helper], length + 1)


def drawn(setting: Setting, proposer: int, odd: float, length: int) -> float:
    """Seconds per token of `risky`: blocks that end just before a position that is at risk (algorithms of the docs)."""
    if length == 0:
        return setting.standard()
    share, rate = 1 - odd, setting.rates[proposer]
    certain = (length + 1) * odd / share  # positions of the proposer's own in a block
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
    """Seconds per token: turn i scores and makes; block i is decided in turn i + members - 1."""
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
    """1 + a + ... + a^(count - 1): tokens of a chain, with the one that replaces or follows."""
    return sum(rate**power for power in range(count))
