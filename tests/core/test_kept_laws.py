"""Nothing writes to what members say, nor to the laws that are made of it and kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, observed
from tests.core.test_auto import erratic
from tests.toys.bayes import Bayes
from tests.toys.drawn_by_text import DrawnByFirst
from tests.toys.feature_gate import FeatureGate, FeatureMember
from tests.toys.last_two import LastTwo
from unisono.combine import Combination, Positions, as_combination
from unisono.combine.base import Traits
from unisono.decoding import Schedule, cos, lookup, parallel, relay, risky, speculative, standard, targets
from unisono.decoding.blocks import Block, Decisions
from unisono.decoding.frontier import Place
from unisono.decoding.row import Row
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import AnyWarp, Warp
from unisono.testing import PROMPT

MEMBERS = [FeatureMember.random(3, seed, parameters=seed) for seed in (1, 2, 3)]
COMBINATIONS = (
    *("weighted:0.7,0.3", "weighted:0.6,0.4,order=combine-first", "drawn:0.7,0.3", "product:0.6,0.4", "only:0"),
    *("only:1", "contrastive:mu=0.4", "contrastive_masked:0.1,0.5", "guidance:1.5", "context_aware:0.5"),
    *("cosd:0.5,0.5", "cascade:chow,0.4", "nudge:0.4", "gate:0.5,0.5,threshold=0.5", "realign:0.5"),
    *(LastTwo(), Bayes(), FeatureGate(0), DrawnByFirst()),
)
SCHEDULES = (standard(), parallel(), cos(2, 1), cos(1, 1), speculative(2), relay(2), lookup(1), risky(1), erratic(2))
SETTINGS = ((Warp(), Edits()), (Warp(0.7, top_k=2), Edits()), (Warp(0), Edits()), (Warp(0.8), Edits(repetition=1.3)))


class Watch:
    """Compares all that a row keeps with what its members say by definition, whenever it is called."""

    def __init__(self, members: Sequence[HistoryMember]) -> None:
        self.members = members
        self.row: Row | None = None
        self.seen = 0  # kept laws that were compared

    def verification(self, rule: Verification) -> Verification:
        """The rule, which looks before it decides and after it."""

        def decide(laws: Tensor, blocks: Sequence[Block]) -> Decisions:
            self.look()
            decisions = rule.decide(laws, blocks)
            self.look()
            return decisions

        return replace(rule, decide=decide)

    def look(self, row: Row | None = None) -> None:
        self.row = row or self.row
        if self.row is None:
            return
        frontier = self.row.frontier
        for member, said in zip(self.members, frontier.said, strict=True):
            for offset, each in enumerate(said):
                text = [
                    *PROMPT,
                    *frontier.committed,
                    *(int(proposal.token) for proposal in frontier.proposals[:offset]),
                ]
                logits = member.law(text).log()
                warp = self.row.laws.warp([offset])
                law = (warp.untempered() if warp.greedy else warp)(logits.unsqueeze(0))[0]
                same(each.logits, logits)
                same(each.law, law)
                same(each.raw, logits.softmax(-1))
                self.seen += each.law is not None
                if each.law is not None and offset < frontier.open:
                    proposal = frontier.proposals[offset]
                    if proposal.law is not None and self.members[int(proposal.proposer)] is member:
                        torch.testing.assert_close(proposal.law, law, atol=1e-14, rtol=0)


def same(kept: Place | None, wanted: Tensor) -> None:
    if kept is not None:
        torch.testing.assert_close(kept[0][kept[1]], wanted, atol=1e-14, rtol=0)


def watched(
    combination: object,
    schedule: Schedule,
    rule: Verification,
    setting: int,
    members: Sequence[HistoryMember],
    seeds: int = 1,
    drafters: int = 0,
) -> int:
    """Run some rows; return how many kept laws were compared."""
    warp, edits = SETTINGS[setting]
    watch, law = Watch(members), as_combination(combination, len(members) - drafters)
    for seed in range(seeds):
        observed(
            members, schedule, KeyedNoise(seed), 6, law, warp, after_round=watch.look,
            verification=watch.verification(rule), edits=edits, drafters=drafters,
            proposer=len(members) - 1 if drafters else 0,
        )  # fmt: skip
    return watch.seen


SETTING = pytest.mark.parametrize("setting", [0, *(pytest.param(each, marks=pytest.mark.long) for each in (1, 2, 3))])


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
@SETTING
def test_kept_laws_stay_as_they_were_made(combination: object, setting: int):
    """Every combination under every schedule; the verifications take turns."""
    rules = list(VERIFICATIONS.values())
    seen = [
        watched(combination, schedule, rules[(index + setting) % 3], setting, MEMBERS[:2])
        for index, schedule in enumerate(SCHEDULES)
    ]
    assert min(seen[2:6]) > 0 or SETTINGS[setting][0].greedy  # what proposes has laws that are kept


@SETTING
def test_kept_laws_of_three_members_stay(setting: int):
    for schedule in (standard(), cos(2, 1, 1), speculative(2), relay(2), erratic(3)):
        for combination in ("proxy:1.0", "weighted:0.6,0.3,0.1"):
            watched(combination, schedule, VERIFICATIONS["token"], setting, MEMBERS)


class Writing(Combination):
    """The law of the first member, with a floor that is written into it."""

    name = "writing"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        law = positions.scores[0].law.clamp_(min=0.3)
        return law / law.sum(-1, keepdim=True)


def test_a_law_that_writes_is_noticed():
    with pytest.raises(AssertionError, match="not close"):
        watched(Writing(), cos(2, 1), VERIFICATIONS["token"], 0, MEMBERS[:2])


class FirstAlone(Combination):
    """Returns the first member's own law. It says that both members are needed, but what is certain is known before."""

    name = "first_alone"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        return positions.scores[0].law

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(certainty=self)

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        count = len(positions.scores[0].logits)
        return torch.full((count,), len(positions.heard) == 2)

    def certain(self, positions: Positions, warp: AnyWarp, tokens: Tensor, chances: Tensor) -> Tensor:
        if 0 not in positions.heard:
            return torch.zeros(len(tokens), dtype=torch.bool)
        return positions.scores[0].law.gather(-1, tokens.unsqueeze(-1))[:, 0] >= chances

    checked = False  # a check would copy the law


def first_alone() -> int:
    """Run a law of two members with proposals of a third one, which is no part of it."""
    return sum(
        watched(FirstAlone(), schedule, VERIFICATIONS["token"], 0, MEMBERS, seeds=8, drafters=1)
        for schedule in (speculative(2), cos(2, 1, 2), relay(2))
    )


def test_targets_are_copied_before_what_is_certain_is_written_into_them(monkeypatch: pytest.MonkeyPatch):
    """Or a member's own law, which the combination returns as it is, would become that of a proposal."""
    assert first_alone() > 0
    correct = targets._with_certain

    def uncopied(*arguments: Any) -> Tensor:
        with monkeypatch.context() as inner:
            inner.setattr(Tensor, "clone", lambda self: self)
            return correct(*arguments)

    monkeypatch.setattr(targets, "_with_certain", uncopied)
    with pytest.raises(AssertionError, match="not close"):
        first_alone()
