"""What a method will cost, before it is run for long: the real decode loop over recorded members.

A few texts are decoded, and what every member says along them is kept: its logits at each position, and the time of its
forwards by how many tokens they read. Then any schedule, verification or combination is played by the engine itself,
with members that answer from the record at once and are charged what a forward takes. So whatever the loop does is
priced: block and coupled verification, members that are drawn, laws that are certain early, any number of members.

What it takes for granted: acceptance at a position does not depend on how the text came there, and one row.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unisono.bench import predict
from unisono.bench.choice import BASELINE, Choice
from unisono.combine import Combination
from unisono.combine.base import static_odds, target_law
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError
from unisono.members.base import Context, Member, Scores, Work
from unisono.members.tokens import Append, TokenMember
from unisono.params import SamplingParams
from unisono.sampling.warp import Warp
from unisono.text.prompts import Prepared

WIDTHS = (1, 2, 3, 4, 6, 8, 12)  # new tokens of the forwards that are timed
TIMES = 5
PLAYS = 12  # of all texts together, where there is chance
UNPRICED = ("parallel", "auto")  # members that run at once share the cores; a schedule that times members cannot here


@dataclass
class Recorded(TokenMember):
    """A member that says along one text what another said: the `Member` protocol, priced.

    logits: [T, V], the laws behind the context and each token. read: how many tokens the context has. price: seconds of a
    forward by the number of tokens read. charged: seconds of all forwards so far.
    """

    name: str
    parameters: int
    logits: Tensor
    read: int
    price: Mapping[int, float]
    context_length: int | None = None
    device: str = "cpu"
    end_ids: frozenset[int] = frozenset()
    keeps: bool = False
    charged: float = 0.0
    vocabulary: int = field(init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.vocabulary = self.logits.shape[-1]

    @property
    def facts(self) -> Mapping[str, str]:
        return {"architecture": "record"}

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        """What was recorded is restricted already."""

    def memory(self, slots: int, places: int) -> int:
        return 0

    def score(self, work: Sequence[Work]) -> list[Scores]:
        return [Scores(self._said(self._append(item))) for item in work]

    def _said(self, item: Append) -> Tensor:
        """Logits [keep, V]."""
        count = len(item.tokens)
        self.charged += float(np.interp(count, list(self.price), list(self.price.values())))
        self._slots[item.slot].extend(item.tokens)
        end = len(self._slots[item.slot]) - self.read + 1
        return self.logits[end - item.keep : end] if item.keep else self.logits[:0]


@dataclass(frozen=True)
class Record:
    """What members said along texts, and took for it.

    texts: per text, one recorded member each. prompts: per text, what the members read before it. price: per member,
    seconds by tokens read. baseline: per text, seconds per token of `standard`, played.
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
        """Time of a forward of one token of the default proposer over that of the other member of two."""
        if len(self.price) != 2:
            return None
        proposer = self.ensemble.method(self.params, combine=self.combine, schedule=BASELINE).proposer
        return self.price[proposer][1] / self.price[1 - proposer][1]

    def acceptances(self) -> list[float]:
        """Per member, `sum min(s, r)`: how much of what it proposes would stand, mean over positions."""
        warp = Warp.of(self.params)
        combined = self.ensemble.lineup.combined
        said = [[text[index].logits.clone() for index in combined] for text in self.texts]
        targets = [target_law(self.combine, logits, warp) for logits in said]
        return [self._overlap(index, targets, warp) for index in range(len(self.price))]

    def agreement(self, one: int, other: int) -> float:
        """`1 - TV` of two members' warped laws, mean over positions."""
        warp = Warp.of(self.params)
        return self._overlap(one, [warp(text[other].logits.clone()) for text in self.texts], warp)

    def _overlap(self, member: int, laws: Sequence[Tensor], warp: Warp) -> float:
        own = [warp(text[member].logits.clone()) for text in self.texts]
        shared = [torch.minimum(mine, law).sum(-1) for mine, law in zip(own, laws, strict=True)]
        return float(torch.cat(shared).mean())


def record(ensemble: Ensemble, prompts: Sequence[Any], params: SamplingParams) -> Record:
    """Decode prompts, score the texts with every member, and time the members' forwards."""
    params = replace(params, seed=0, ignore_eos=True)
    combine = ensemble.method(params, schedule=BASELINE).combination
    results = ensemble.generate(list(prompts), params, combine=combine, progress=False)
    prepared = [ensemble.prompts.prepare(prompt, params, combine) for prompt in prompts]
    longest = max(prepared, key=lambda each: each.contexts[0].size)
    members = ensemble.lineup.members
    price = [_prices(member, context) for member, context in zip(members, longest.contexts, strict=True)]
    texts = []
    for each, result in zip(prepared, results, strict=True):
        parts = zip(members, each.contexts, price, strict=True)
        texts.append([_recorded(member, context, result.token_ids, cost) for member, context, cost in parts])
    found = Record(texts, prepared, params, ensemble, combine, price)
    return replace(found, baseline=_seconds(found, Choice(BASELINE)))


def _recorded(member: Member, context: Context, tokens: Sequence[int], price: Mapping[int, float]) -> Recorded:
    slot = member.open(context)
    try:
        (scores,) = member.score([Work(slot, context.size, tokens[:-1], len(tokens))])
        return Recorded(member.name, member.parameters, scores.logits.clone(), context.size, price)
    finally:
        member.close(slot)


def _prices(member: Member, context: Context) -> dict[int, float]:
    """Median seconds of a forward behind the context by how many tokens it reads, and of reading a long context itself."""
    seconds: dict[int, list[float]] = {}
    for _ in range(TIMES + 1):
        slot = member.open(context)
        try:
            reading = _timed(member, Work(slot, context.size, keep=1))
            if context.size > WIDTHS[-1]:
                seconds.setdefault(context.size, []).append(reading)
            for width in WIDTHS:
                tokens = (context.tokens * (width // len(context.tokens) + 1))[:width]
                member.rewind(slot, 0)
                if member.unread(slot):
                    member.score([Work(slot, context.size)])
                seconds.setdefault(width, []).append(_timed(member, Work(slot, tokens=tokens, keep=width)))
        finally:
            member.close(slot)
    return {width: statistics.median(found[1:]) for width, found in sorted(seconds.items())}


def _timed(member: Member, work: Work) -> float:
    started = time.perf_counter()
    float(member.score([work])[0].logits[-1, 0])  # waits for the device
    return time.perf_counter() - started


def speedup(recorded: Record, choice: Choice) -> float | None:
    """Speed-up over `standard` that the record promises for a choice; None for what it cannot price."""
    unpriced = choice.peer or choice.schedule in UNPRICED
    if unpriced or (choice.schedule.startswith("lookup") and recorded.params.temperature > 0):
        return None  # what is looked up is not in a text that was drawn anew at each position
    if choice.schedule == BASELINE:
        return 1.0
    seconds = _seconds(recorded, choice)
    return statistics.median(standard / mine for standard, mine in zip(recorded.baseline, seconds, strict=True))


def formula(recorded: Record, choice: Choice) -> float | None:
    """What a closed formula gives for the choice, from the record's acceptance and cost; None where there is none."""
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
    """Per text, priced seconds per token, with what the loop itself takes outside of forwards."""
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
    """Choices worth predicting for this combination; the reference first."""
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
