"""Predict the speed of a method by running the decode loop with recorded members instead of real members.

First, a few texts are decoded with the real members. For each member, two things are recorded: its logits along these
texts, and the seconds of a forward for each number of tokens read. Then the engine decodes again with any schedule,
verification and combination. The recorded members return the recorded logits at once and add up the recorded seconds.

The prediction is for one row. It assumes that the acceptance at a position depends only on the recorded logits at this
position, not on the tokens that were chosen before.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unisono.bench import predict
from unisono.bench.choice import BASELINE, Choice
from unisono.combine import Combination, Positions
from unisono.combine.base import static_odds, target_law
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError
from unisono.members.base import Context, Member, Work
from unisono.members.table import TableMember
from unisono.members.tokens import Append, TokenMember
from unisono.params import SamplingParams
from unisono.sampling.warp import Warp
from unisono.text.prompts import Prepared

WIDTHS = (1, 2, 3, 4, 6, 8, 12)  # the numbers of new tokens of the timed forwards
TIMES = 5
PLAYS = 12  # the number of runs over all texts together, if tokens are sampled
UNPRICED = ("parallel", "auto")  # members share the cores under `parallel`, and `auto` needs the times of real members


@dataclass
class Recorded(TableMember):
    """A member that returns the recorded logits of another member along one text.

    logits: [T, V], the logits after the context and after each token.
    read: the number of tokens of the context.
    price: for each number of tokens read, the seconds of a forward.
    charged: the seconds of all forwards so far.
    """

    name: str
    parameters: int
    logits: Tensor
    read: int
    price: Mapping[int, float]
    charged: float = 0.0

    def __post_init__(self) -> None:
        TokenMember.__init__(self)
        self.vocabulary, self.context_length = self.logits.shape[-1], None

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        """Do nothing, because the recorded logits are already restricted."""

    def memory(self, slots: int, places: int) -> int:
        return 0

    def _scored(self, item: Append) -> Tensor:
        count = len(item.tokens)
        self.charged += float(np.interp(count, list(self.price), list(self.price.values())))
        self._slots[item.slot].extend(item.tokens)
        end = len(self._slots[item.slot]) - self.read + 1
        return self.logits[end - item.keep : end] if item.keep else self.logits[:0]


@dataclass(frozen=True)
class Record:
    """The recorded members of several texts.

    texts: for each text, its recorded members.
    prompts: for each text, its prepared prompt.
    price: for each member, a dict from the number of tokens read to the seconds of a forward.
    baseline: for each text, the predicted seconds per token of `standard`.
    """

    texts: Sequence[Sequence[Recorded]]
    prompts: Sequence[Prepared]
    params: SamplingParams
    ensemble: Ensemble
    combine: Combination
    price: Sequence[Mapping[int, float]]
    baseline: Sequence[float] = ()

    @property
    def cost(self) -> float | None:
        """The time of one forward of the default proposer, divided by the time of one forward of the other member.

        The value is None unless there are exactly two members.
        """
        if len(self.price) != 2:
            return None
        proposer = self.ensemble.method(self.params, combine=self.combine, schedule=BASELINE).proposer
        return self.price[proposer][1] / self.price[1 - proposer][1]

    def acceptances(self) -> list[float]:
        """Return, for each member, the probability that its proposal is accepted.

        The probability is the mean over positions of `sum min(s, r)`, where s is the law of the member and r is the
        target law.
        """
        warp = Warp.of(self.params)
        combined = self.ensemble.lineup.combined
        said = [[text[index].logits.clone() for index in combined] for text in self.texts]
        targets = [target_law(self.combine, Positions.of(logits, warp), warp) for logits in said]
        return [self._overlap(index, targets, warp) for index in range(len(self.price))]

    def agreement(self, one: int, other: int) -> float:
        """Return the mean over positions of 1 - TV. TV is the total-variation distance of two members' warped laws."""
        warp = Warp.of(self.params)
        return self._overlap(one, [warp(text[other].logits.clone()) for text in self.texts], warp)

    def _overlap(self, member: int, laws: Sequence[Tensor], warp: Warp) -> float:
        own = [warp(text[member].logits.clone()) for text in self.texts]
        shared = [torch.minimum(mine, law).sum(-1) for mine, law in zip(own, laws, strict=True)]
        return float(torch.cat(shared).mean())


def record(ensemble: Ensemble, prompts: Sequence[Any], params: SamplingParams) -> Record:
    """Decode the prompts. Record the logits of every member along the texts, and time the forwards of every member."""
    params = replace(params, seed=0, ignore_eos=True)
    combine = ensemble.method(params, schedule=BASELINE).combination
    results = ensemble.generate(list(prompts), params, combine=combine, progress=False)
    prepared = [ensemble.prompts.prepare(prompt, params, combine) for prompt in prompts]
    longest = max(prepared, key=lambda each: each.contexts[0].size)
    members = ensemble.lineup.members
    price = list(map(_prices, members, longest.contexts))
    texts = [
        [_recorded(*each, result.token_ids) for each in zip(members, price, prompt.contexts, strict=True)]
        for prompt, result in zip(prepared, results, strict=True)
    ]
    found = Record(texts, prepared, params, ensemble, combine, price)
    return replace(found, baseline=_seconds(found, Choice(BASELINE)))


@contextmanager
def _opened(member: Member, context: Context) -> Iterator[int]:
    slot = member.open(context)
    try:
        yield slot
    finally:
        member.close(slot)


def _recorded(member: Member, price: Mapping[int, float], context: Context, tokens: Sequence[int]) -> Recorded:
    with _opened(member, context) as slot:
        (scores,) = member.score([Work(slot, context.size, tokens[:-1], len(tokens))])
        return Recorded(member.name, member.parameters, scores.logits.clone(), context.size, price)


def _prices(member: Member, context: Context) -> dict[int, float]:
    """Return a dict from the number of tokens read to the median seconds of a forward of the member.

    Each timed forward appends one of the numbers of tokens in `WIDTHS` to the context. If the context has more tokens
    than the largest of these numbers, the forward that reads the context is timed too.
    """
    seconds: dict[int, list[float]] = {}
    for _ in range(TIMES + 1):
        with _opened(member, context) as slot:
            reading = _timed(member, Work(slot, context.size, keep=1))
            if context.size > WIDTHS[-1]:
                seconds.setdefault(context.size, []).append(reading)
            for width in WIDTHS:
                tokens = (context.tokens * (width // len(context.tokens) + 1))[:width]
                member.rewind(slot, 0)
                if member.unread(slot):
                    member.score([Work(slot, context.size)])
                seconds.setdefault(width, []).append(_timed(member, Work(slot, tokens=tokens, keep=width)))
    return {width: statistics.median(found[1:]) for width, found in sorted(seconds.items())}


def _timed(member: Member, work: Work) -> float:
    started = time.perf_counter()
    float(member.score([work])[0].logits[-1, 0])  # reading a value waits until the device has finished
    return time.perf_counter() - started


def speedup(recorded: Record, choice: Choice) -> float | None:
    """Return the predicted speed-up of a choice over `standard`. Return None if replay cannot predict the choice."""
    unpriced = choice.peer or choice.schedule in UNPRICED
    if unpriced or (choice.schedule.startswith("lookup") and recorded.params.temperature > 0):
        return None  # replay samples positions independently, so no text repeats and look-ups find nothing
    if choice.schedule == BASELINE:
        return 1.0
    seconds = _seconds(recorded, choice)
    return statistics.median(standard / mine for standard, mine in zip(recorded.baseline, seconds, strict=True))


def formula(recorded: Record, choice: Choice) -> float | None:
    """Return the speed-up of a choice over `standard` by a closed formula. Return None if no formula covers the choice.

    The formula uses the acceptance and the cost in the record.
    """
    asked = {"combine": recorded.combine, **choice.overrides}
    method = recorded.ensemble.method(recorded.params, **asked)
    name, _, length = method.schedule.name.partition(":")
    combined, warp = recorded.ensemble.lineup.combined, Warp.of(recorded.params)
    odds, proposer = static_odds(method.combination, len(combined), warp), method.proposer
    if name == "risky" and len(odds) == 2 and recorded.cost and odds[proposer] < 1:
        agreement = recorded.agreement(proposer, 1 - proposer)
        return predict.risky(agreement, recorded.cost, 1 - odds[proposer], int(length))
    return predict.of(method.schedule.name, proposer, recorded.cost, recorded.acceptances()[proposer])


def _seconds(recorded: Record, choice: Choice) -> list[float]:
    """Return the predicted seconds per token for each text.

    A prediction is the sum of the recorded seconds of the forwards and the measured seconds outside of forwards.
    """
    asked = {"combine": recorded.combine, **choice.overrides}
    greedy = recorded.params.temperature == 0 or choice.schedule == BASELINE
    plays = 1 if greedy else max(1, PLAYS // len(recorded.texts))
    priced, outside = [], []
    for text, prompt in zip(recorded.texts, recorded.prompts, strict=True):
        stand_ins = tuple(replace(member, charged=0.0) for member in text)
        lineup = replace(recorded.ensemble.lineup, members=stand_ins, twins=())
        ensemble = Ensemble(lineup, recorded.ensemble.prompts, rows=1, memory=1)
        tokens = len(text[0].logits)
        for seed in range(plays):
            params = replace(recorded.params, max_tokens=tokens, seed=seed)
            result = ensemble.start(prompt, params, **asked)[0].run(ensemble.engine)
            outside.append(result.stats.outside / tokens)
        priced.append(sum(member.charged for member in stand_ins) / (plays * tokens))
    return [each + statistics.median(outside) for each in priced]


def candidates(ensemble: Ensemble, params: SamplingParams, combine: object = None) -> list[Choice]:
    """Return the choices to predict for a combination. The first choice is `standard`."""
    everyone = ensemble.lineup.everyone
    method = ensemble.method(params, combine=combine, schedule=BASELINE)
    names = [BASELINE, *(f"speculative:{length}" for length in (1, 2, 4, 6, 8))]
    names.append("cos:" + ",".join("1" for _ in everyone))
    for length in (2, 4, 6, 8):
        names.append("cos:" + ",".join(str(length if each == method.proposer else 1) for each in everyone))
    if params.temperature > 0:
        names += [f"{names[-2]} block", f"{names[-1]} block", f"{names[-2]} coupled"]
        warp = Warp.of(params)
        other = method.combination.traits(warp).equivalent or method.combination
        if static_odds(other, len(ensemble.lineup.combined), warp):
            names += [f"risky:{length} {other.name}" for length in range(4)]
    return [choice for choice in map(Choice.parse, names) if _fits(ensemble, params, combine, choice)]


def _fits(ensemble: Ensemble, params: SamplingParams, combine: object, choice: Choice) -> bool:
    try:
        ensemble.method(params, **{"combine": combine, **choice.overrides})
    except ConfigurationError:
        return False
    return True
