"""Laws that read more than scores: exact under every schedule and verification, alone and beside other rows."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember
from tests.core.test_auto import erratic
from tests.toys.bayes import Bayes
from tests.toys.drawn_by_text import DrawnByFirst, DrawnByText
from tests.toys.feature_gate import FeatureGate, FeatureMember
from tests.toys.last_two import LastTwo
from unisono.combine import Combination, Positions
from unisono.decoding import Schedule, cos, lookup, parallel, relay, risky, speculative, standard
from unisono.decoding.engine import Engine
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.members.lineup import Lineup
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise, Noise
from unisono.sampling.warp import AnyWarp, Warp
from unisono.testing import PROMPT, EnumeratingNoise, Tokens, brute_force, contexts, largest_error

TWO = [FeatureMember.random(2, seed, parameters=seed) for seed in (1, 2)]
THREE = [FeatureMember.random(3, seed, parameters=seed) for seed in (1, 2)]
READING = (LastTwo(), Bayes(), FeatureGate(0))
DRAWING = (DrawnByText(), DrawnByFirst())
AHEAD = (cos(2, 1), speculative(2), erratic(2))
OTHERS = (standard(), parallel(), cos(1, 1), relay(2), lookup(1), risky(1))
WARPS = {
    "truncated": (Warp(0.7, top_k=2), None),
    "greedy": (Warp(0), None),
    "edited": (Warp(0.8), Edits(repetition=1.7, banned=((1, 1),))),
}

LAWS = pytest.mark.parametrize("law", READING, ids=str)
DRAWN = pytest.mark.parametrize("law", DRAWING, ids=str)
EVERY_LAW = pytest.mark.parametrize("law", [*READING, FeatureGate(1), *DRAWING], ids=str)
ALL_LAWS = pytest.mark.parametrize("law", [*READING, *DRAWING], ids=str)
SCHEDULES = pytest.mark.parametrize("schedule", AHEAD, ids=lambda each: each.name)
OTHER_SCHEDULES = pytest.mark.parametrize("schedule", OTHERS, ids=lambda each: each.name)
ALL_SCHEDULES = pytest.mark.parametrize("schedule", [*AHEAD, *OTHERS], ids=lambda each: each.name)
RULES = pytest.mark.parametrize("rule", VERIFICATIONS.values(), ids=list(VERIFICATIONS))
SETTINGS = pytest.mark.parametrize("setting", WARPS)


@LAWS
@SCHEDULES
@RULES
def test_a_law_that_reads_more_is_exact(law: Combination, schedule: Schedule, rule: Verification):
    """Three tokens: what is read of a proposal that was rejected, or is read too late, shows in the third."""
    assert largest_error(TWO, law, schedule, 3, verification=rule) < 1e-12


@DRAWN
@SCHEDULES
@RULES
def test_odds_may_read_the_text(law: Combination, schedule: Schedule, rule: Verification):
    assert largest_error(TWO, law, schedule, 2, verification=rule) < 1e-12


@ALL_LAWS
@OTHER_SCHEDULES
def test_other_schedules_are_exact(law: Combination, schedule: Schedule):
    tokens = 2 if law in DRAWING else 3
    assert largest_error(TWO, law, schedule, tokens) < 1e-12


@LAWS
@SETTINGS
def test_temperatures_truncation_and_edits_keep_it_exact(law: Combination, setting: str):
    warp, edits = WARPS[setting]
    assert largest_error(THREE, law, cos(2, 1), 2, warp=warp, edits=edits) < 1e-12


@pytest.mark.long
@EVERY_LAW
@ALL_SCHEDULES
@RULES
def test_three_tokens_are_exact(law: Combination, schedule: Schedule, rule: Verification):
    assert largest_error(TWO, law, schedule, 3, verification=rule) < 1e-12


@pytest.mark.long
@EVERY_LAW
@ALL_SCHEDULES
@RULES
@SETTINGS
def test_every_setting_is_exact(law: Combination, schedule: Schedule, rule: Verification, setting: str):
    warp, edits = WARPS[setting]
    assert largest_error(THREE, law, schedule, 2, warp=warp, edits=edits, verification=rule) < 1e-12


@pytest.mark.long
@LAWS
@RULES
def test_odd_texts_of_four_tokens_are_exact(law: Combination, rule: Verification):
    """A proposal behind two others that stand, and a round behind a rejection."""
    assert largest_error(TWO, law, cos(2, 1), 4, verification=rule, warp=Warp(0.5)) < 1e-12


@dataclass
class Sample(Noise):
    """The noise of one of several rows that one enumeration chooses for; positions of rows do not meet."""

    noise: Noise
    index: int

    def draw(self, law, purpose, position, round):
        return self.noise.draw(law, purpose, position + 100 * self.index, round)

    def leading(self, probabilities, position, round):
        return self.noise.leading(probabilities, position + 100 * self.index, round)


def batch(
    law: Combination, schedule: Schedule, rule: Verification, noises: Sequence[Noise], tokens: int
) -> list[Tokens]:
    """Run the samples of one prompt together; return their texts."""
    lineup, method = Lineup(tuple(TWO)), Method(law, schedule, rule, 0)
    task = Task(contexts(TWO), Warp(), tokens)
    rows = [Row(lineup, method, task, noise) for noise in noises]
    for row in rows:
        row.siblings = rows
    engine = Engine(lineup)
    engine.submit(*rows)
    for row in rows:
        engine.run(row)
    return [tuple(row.frontier.committed) for row in rows]


def beside(law: Combination, schedule: Schedule, rule: Verification, tokens: int) -> float:
    """The largest error of one row's law beside two samples of the same prompt with seeds, whose texts are checked."""
    wanted = brute_force(TWO, law, tokens)
    alone = [batch(law, schedule, rule, [KeyedNoise(seed)], tokens)[0] for seed in (5, 6)]
    found: dict[Tokens, float] = {}

    def run(noise: Noise) -> Tokens:
        text, *others = batch(law, schedule, rule, [noise, KeyedNoise(5), KeyedNoise(6)], tokens)
        assert others == alone
        return text

    for text, probability in EnumeratingNoise(run):
        found[text] = found.get(text, 0.0) + probability
    return max(abs(found.get(text, 0.0) - mass) for text, mass in wanted.items())


@ALL_LAWS
def test_rows_beside_it_change_nothing(law: Combination):
    """Samples of one prompt at unequal positions are combined in one call of the law."""
    assert beside(law, cos(2, 1), VERIFICATIONS["token"], 2) < 1e-12


@pytest.mark.long
@EVERY_LAW
@ALL_SCHEDULES
@RULES
def test_rows_beside_it_change_nothing_anywhere(law: Combination, schedule: Schedule, rule: Verification):
    assert beside(law, schedule, rule, 2) < 1e-12


@pytest.mark.parametrize("law", [LastTwo(), Bayes()], ids=str)
def test_two_samples_are_independent(law: Combination):
    """`n=2`: the law of both texts is the product of their laws."""
    wanted, found = brute_force(TWO, law, 2), {}  # type: ignore[var-annotated]

    def run(noise: Noise) -> Tokens:
        first, second = batch(law, cos(1, 1), VERIFICATIONS["token"], [Sample(noise, 0), Sample(noise, 1)], 2)
        return (*first, *second)

    for text, probability in EnumeratingNoise(run):
        found[text] = found.get(text, 0.0) + probability
    for first, second in itertools.product(wanted, wanted):
        assert abs(found.get((*first, *second), 0.0) - wanted[first] * wanted[second]) < 1e-12


@pytest.mark.parametrize("vocabulary", [2, 3])
def test_bayes_is_the_mixture_of_the_laws_of_whole_texts(vocabulary: int):
    """`sum_i w_i P_i(text)`, by the chain rule for each member alone."""
    members = [FeatureMember.random(vocabulary, seed) for seed in (1, 2, 3)]
    weights = (0.5, 0.3, 0.2)
    law = brute_force(members, Bayes(weights), 3)
    for text, mass in law.items():
        texts = [
            math.prod(float(member.law((*PROMPT, *text[:end]))[text[end]]) for end in range(3)) for member in members
        ]
        assert abs(mass - sum(weight * each for weight, each in zip(weights, texts, strict=True))) < 1e-12


@dataclass(frozen=True)
class Lone(Combination):
    """The law of the second member, flattened by its features; the first one only proposes."""

    name = "lone"
    reads = frozenset({"features"})

    def needed(self, members: int) -> tuple[int, ...]:
        return (1,)

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        law = positions.scores[1].law
        share = torch.sigmoid(positions.features[1].sum(-1, keepdim=True)).to(law)
        return share * law + (1 - share) / law.shape[-1]


@SCHEDULES
def test_features_keep_the_place_of_their_member(schedule: Schedule):
    """A member that is not needed may have none."""
    assert largest_error([HistoryMember.random(2, 1), TWO[1]], Lone(), schedule, 3) < 1e-12


@dataclass(frozen=True)
class Curious(Combination):
    """Draws by the first member, and looks at the second one if that has scored."""

    name = "curious"
    drawn_by = (0,)

    def odds(self, positions: Positions) -> Tensor:
        share = 0.2 if 1 in positions.heard else 0.9
        return torch.tensor([[share, 1 - share]]).expand(len(positions.scores[0].logits), -1)


def test_odds_do_not_depend_on_who_else_has_scored():
    """Under `standard` all members have scored, under `cos` the first one alone."""
    seeds = range(40)
    texts = [[batch(Curious(), plan, VERIFICATIONS["coupled"], [KeyedNoise(seed)], 3) for seed in seeds]
             for plan in (standard(), cos(1, 1))]  # fmt: skip
    assert texts[0] == texts[1]
