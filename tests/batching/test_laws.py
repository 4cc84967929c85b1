"""Every sampling parameter has one law under every schedule: by enumeration of the real loop, to 1e-12."""

import itertools

import pytest
import torch

from tests.laws import law_of
from unisono import combine
from unisono.decoding import cos, parallel, speculative, standard
from unisono.sampling.logits_edits import EditedWarp, Edits
from unisono.sampling.warp import Warp
from unisono.testing import PROMPT, exact_law, unequal_members

TOKENS = 3
EDITS = {
    "bias": Edits(bias={0: 0.7, 1: -1.0}),
    "allowed": Edits(allowed=(0, 2)),
    "banned word": Edits(banned=((1,),)),
    "banned pair": Edits(banned=((0, 1), (2, 2))),
    "min_tokens": Edits(min_tokens=2, ends=(1,)),
    "repetition": Edits(repetition=1.7),
    "presence": Edits(presence=0.8),
    "frequency": Edits(frequency=0.6),
    "processor": Edits(processors=(lambda ids, logits: logits * (1 + 0.3 * float(ids[0, -1] == 1)),)),
    "all": Edits(bias={2: 0.5}, banned=((1, 1),), repetition=1.2, presence=0.3, frequency=-0.2),
}
COMBINATIONS = [
    combine.weighted([0.7, 0.3]),
    combine.weighted([0.7, 0.3], order="combine-first"),
    combine.contrastive(0.5),
]


def brute_force(members, combination, warp, edits):
    """The law of the output by its definition: each position sees exactly the tokens in front of it."""
    law = {}
    for sequence in itertools.product(range(members[0].vocabulary), repeat=TOKENS):
        probability = 1.0
        for position, token in enumerate(sequence):
            prefix = list(sequence[:position])
            logits = [member.law((*PROMPT, *prefix)).log().unsqueeze(0) for member in members]
            edited = EditedWarp(warp, edits, PROMPT, [prefix])
            probability *= float(law_of(combination, logits, edited)[0, token])
        law[sequence] = probability
    return law


@pytest.mark.parametrize("schedule", [standard(), parallel(), speculative(1), cos(1, 1)], ids=lambda each: each.name)
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("name", EDITS)
def test_every_schedule_has_the_law_of_the_definition(name, combination, schedule):
    """Edits see the open proposals in front of each position, whoever proposes and whoever checks."""
    members, warp = unequal_members(2), Warp(0.8)
    found = exact_law(members, combination, schedule, TOKENS, warp=warp, edits=EDITS[name])
    wanted = brute_force(members, combination, warp, EDITS[name])
    assert max(abs(found.get(sequence, 0.0) - mass) for sequence, mass in wanted.items()) < 1e-12
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", EDITS)
def test_temperature_zero_takes_the_most_probable_edited_token(name):
    """Greedy text under edits is one text for all schedules, the argmax of the definition."""
    members, combination = unequal_members(2), COMBINATIONS[0]
    wanted = brute_force(members, combination, Warp(0), EDITS[name])
    (text,) = [sequence for sequence, mass in wanted.items() if mass == 1]
    for schedule in (standard(), speculative(2), cos(2, 1), cos(1, 1)):
        assert exact_law(members, combination, schedule, TOKENS, warp=Warp(0), edits=EDITS[name]) == {text: 1.0}


def test_a_longer_draft_sees_its_own_tokens():
    """Penalties of a draft of two count its first token when the second is proposed and checked."""
    members = unequal_members(2, vocabulary=2)
    for schedule in (speculative(2), cos(2, 1), cos(1, 2)):
        found = exact_law(members, COMBINATIONS[0], schedule, TOKENS, edits=EDITS["repetition"], proposer=1)
        wanted = brute_force(members, COMBINATIONS[0], Warp(), EDITS["repetition"])
        assert max(abs(found[sequence] - mass) for sequence, mass in wanted.items()) < 1e-12


def test_a_proposer_without_a_possible_token_changes_nothing():
    """A member that masks leave no token proposes from any law; the output follows the others."""
    sure = torch.tensor([[0.0, 1.0, 0.0]]).repeat(3, 1)
    members = [type(unequal_members(1)[0])(sure), unequal_members(2)[1]]
    edits = Edits(allowed=(0, 2))
    found = exact_law(members, combine.only(1), cos(1, 1), TOKENS, edits=edits, proposer=0)
    wanted = brute_force(members, combine.only(1), Warp(), edits)
    assert max(abs(found.get(sequence, 0.0) - mass) for sequence, mass in wanted.items()) < 1e-12
