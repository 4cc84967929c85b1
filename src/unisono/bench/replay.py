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
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from unisono.bench import predict
from unisono.bench.choice import BASELINE, Choice
from unisono.combine import Combination
from unisono.combine.base import target_law
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError
from unisono.members.base import Member, Work
from unisono.params import SamplingParams
from unisono.request import run_all
from unisono.sampling.warp import Warp

WIDTHS = (1, 2, 3, 4, 6, 8, 12)  # new tokens of the forwards that are timed
TIMES = 5
PLAYS = 12  # of all texts together, where there is chance
UNPRICED = ("parallel", "auto")  # members that run at once share the cores; a schedule that times members cannot here


@dataclass
class Recorded:
    """A member that says along one text what another said: the `Member` protocol, priced.

    logits: [T, V], the laws behind the prompt and each token. prompt: how many tokens that is. price: seconds of a
    forward by the number of tokens read. charged: seconds of all forwards so far.
    """

    name: str
    parameters: int
    logits: Tensor
    prompt: int
    price: Mapping[int, float]
    context: int | None = None
    keeps: bool = False
    charged: float = 0.0
    _lengths: dict[int, int] = field(default_factory=dict)

    @property
    def vocabulary(self) -> int:
        return self.logits.shape[-1]

    def memory(self, slots: int, tokens: int) -> int:
        return 0

    def open(self) -> int:
        slot = max(self._lengths, default=0) + 1
        self._lengths[slot] = 0
        return slot

    def fork(self, slot: int) -> int:
        copy = self.open()
        self._lengths[copy] = self._lengths[slot]
        return copy

    def close(self, slot: int) -> None:
        self._lengths.pop(slot, None)

    def length(self, slot: int) -> int:
        return self._lengths[slot]

    def rewind(self, slot: int, length: int) -> None:
        self._lengths[slot] = length

    def score(self, work: Sequence[Work]) -> list[Tensor]:
        return [self._scored(item) for item in work]

    def _scored(self, item: Work) -> Tensor:
        count = len(item.tokens)
        self.charged += float(np.interp(count, list(self.price), list(self.price.values())))
        self._lengths[item.slot] += count
        end = self._lengths[item.slot] - self.prompt + 1
        return self.logits[end - item.keep : end] if item.keep else self.logits[:0]


@dataclass(frozen=True)
class Record:
    """What members said along texts, and took for it.

    texts: per text, one recorded member each. prompts: per text, the token ids that each member read. price: per member,
    seconds by tokens read. baseline: per text, seconds per token of `standard`, played.
    """

    texts: Sequence[Sequence[Recorded]]
    prompts: Sequence[Sequence[Sequence[int]]]
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
        targets = [target_law(self.combine, _logits(text), warp) for text in self.texts]
        return [self._overlap(index, targets, warp) for index in range(len(self.price))]

    def agreement(self, one: int, other: int) -> float:
        """`1 - TV` of two members' warped laws, mean over positions."""
        warp = Warp.of(self.params)
        return self._overlap(one, [warp(text[other].logits.clone()) for text in self.texts], warp)

    def _overlap(self, member: int, laws: Sequence[Tensor], warp: Warp) -> float:
        own = [warp(text[member].logits.clone()) for text in self.texts]
        shared = [torch.minimum(mine, law).sum(-1) for mine, law in zip(own, laws, strict=True)]
        return float(torch.cat(shared).mean())


def _logits(text: Sequence[Recorded]) -> list[Tensor]:
    return [member.logits.clone() for member in text]


def record(ensemble: Ensemble, prompts: Sequence[Any], params: SamplingParams, asked: object = None) -> Record:
    """Decode prompts, score the texts with every member, and time the members' forwards."""
    params = replace(params, seed=0, ignore_eos=True)
    combine = ensemble.method(params, combine=asked, schedule=BASELINE).combination
    results = ensemble.generate(list(prompts), params, combine=combine, progress=False)
    read = [ensemble.prompts.encode(prompt) for prompt in prompts]
    if combine.takes_negative():
        read = [ensemble.prompts.negative(ids, params.negative_prompt) for ids in read]
    longest = max(range(len(read)), key=lambda index: len(read[index][0]))
    price = [_prices(member, read[longest][index]) for index, member in enumerate(ensemble.members)]
    texts = []
    for ids, result in zip(read, results, strict=True):
        said = [_said(member, own, result.token_ids) for member, own in zip(ensemble.members, ids, strict=True)]
        facts = zip(ensemble.members, said, ids, price, strict=True)
        texts.append([Recorded(each.name, each.parameters, law, len(own), cost) for each, law, own, cost in facts])
    found = Record(texts, read, params, ensemble, combine, price)
    return replace(found, baseline=_seconds(found, Choice(BASELINE)))


def _said(member: Member, prompt: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """The member's logits at each position of the text: [T, V]."""
    slot = member.open()
    try:
        return member.score([Work(slot, [*prompt, *tokens[:-1]], len(tokens))])[0].clone()
    finally:
        member.close(slot)


def _prices(member: Member, prompt: Sequence[int]) -> dict[int, float]:
    """Median seconds of a forward behind the prompt by how many tokens it reads, and of reading the prompt itself."""
    slot = member.open()
    seconds: dict[int, list[float]] = {}
    try:
        for _ in range(TIMES + 1):
            for width in (*WIDTHS, max(len(prompt), WIDTHS[-1] + 1)):
                tokens = (list(prompt) * (width // len(prompt) + 1))[:width]
                before = 0 if width > WIDTHS[-1] else len(prompt)
                member.rewind(slot, 0)
                if before:
                    member.score([Work(slot, prompt, 1)])
                started = time.perf_counter()
                float(member.score([Work(slot, tokens, min(width, WIDTHS[-1]))])[0][-1, 0])  # waits for the device
                seconds.setdefault(width, []).append(time.perf_counter() - started)
    finally:
        member.close(slot)
    return {width: statistics.median(found[1:]) for width, found in sorted(seconds.items())}


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
    odds, proposer = method.combination.odds(Warp.of(recorded.params)), method.proposer
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
    for text, ids in zip(recorded.texts, recorded.prompts, strict=True):
        stand_ins = [replace(member, charged=0.0, _lengths={}) for member in text]
        ensemble = Ensemble(cast(Any, stand_ins), recorded.ensemble.prompts, rows=1, memory=1)
        tokens = len(text[0].logits)
        for seed in range(plays):
            params = replace(recorded.params, max_tokens=tokens, seed=seed)
            (result,) = run_all(ensemble.start(ids, params, **asked), ensemble.engine)
            outside.append(result.stats.outside / tokens)
        priced.append(sum(member.charged for member in stand_ins) / (plays * tokens))
    return [each + statistics.median(outside) for each in priced]


def candidates(ensemble: Ensemble, params: SamplingParams, combine: object = None) -> list[Choice]:
    """Choices worth predicting for this combination; the reference first."""
    count = len(ensemble.members)
    method = ensemble.method(params, combine=combine, schedule=BASELINE)
    names = [BASELINE, *(f"speculative:{length}" for length in (1, 2, 4, 6, 8))]
    names.append("cos:" + ",".join(["1"] * count))
    for length in (2, 4, 6, 8):
        names.append("cos:" + ",".join(str(length if each == method.proposer else 1) for each in range(count)))
    if params.temperature > 0:
        names += [f"{names[-2]} block", f"{names[-1]} block", f"{names[-2]} coupled"]
        other = method.combination.equivalent(Warp.of(params))
        if other.odds(Warp.of(params)):
            names += [f"risky:{length} {other.name}" for length in range(4)]
    return [choice for choice in map(Choice.parse, names) if _fits(ensemble, params, combine, choice)]


def _fits(ensemble: Ensemble, params: SamplingParams, combine: object, choice: Choice) -> bool:
    try:
        ensemble.method(params, **{"combine": combine, **choice.overrides})
    except ConfigurationError:
        return False
    return True
