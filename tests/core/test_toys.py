"""Members of other kinds, each in one file of `tests/toys`, decode exactly under every schedule and verification."""

import dataclasses

import pytest

from tests.core.helpers import TWO_SCHEDULES, HistoryMember
from tests.toys.snapshots import SnapshotMember
from tests.toys.texts import TextMember
from unisono import Ensemble, RequestError, SamplingParams
from unisono.decoding import Schedule
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.members.source import PLAIN
from unisono.sampling.warp import Warp
from unisono.testing import largest_error
from unisono.text.prompts import Prompts
from unisono.tokens.vocabulary import Vocabulary

SCHEDULES = pytest.mark.parametrize("schedule", TWO_SCHEDULES, ids=lambda schedule: schedule.name)
RULES = pytest.mark.parametrize("rule", VERIFICATIONS.values(), ids=list(VERIFICATIONS))


@SCHEDULES
@RULES
def test_contexts_may_be_texts_of_unequal_lengths(schedule: Schedule, rule):
    """Members that read texts and warp by themselves; each law is the mixture of their warped laws."""
    members = [TextMember("", 2, seed=1), TextMember("a longer opening: ", 2, seed=2)]
    for warp in (Warp(), Warp(0.7, top_k=2), Warp(0)):
        error = largest_error(members, "weighted:0.7,0.3", schedule, 3, warp=warp, verification=rule)
        assert error < 1e-12


@SCHEDULES
@RULES
def test_a_state_may_be_kept_at_few_lengths(schedule: Schedule, rule):
    """`rewind` keeps fewer units than asked, or loses the context; the rest is read again."""
    members = [SnapshotMember.random(2, seed=1), HistoryMember.random(2, seed=2, parameters=2)]
    for combination, warp in (("weighted:0.6,0.4", Warp()), ("weighted:0.6,0.4", Warp(0)), ("drawn:0.5,0.5", Warp())):
        assert largest_error(members, combination, schedule, 3, warp=warp, verification=rule) < 1e-12


def test_the_state_really_was_lost():
    """Or the test above would not say anything."""
    members = [SnapshotMember.random(2, seed=1), HistoryMember.random(2, seed=2, parameters=2)]
    assert largest_error(members, "weighted:0.6,0.4", "cos:3,1", 3) < 1e-12
    assert isinstance(members[0], SnapshotMember)
    assert members[0].lost > 0


def test_members_that_warp_by_themselves_take_no_edits():
    """A penalty would act behind the truncation, where it belongs in front of it."""
    lineup = Lineup((TextMember("", seed=1), TextMember("opening ", seed=2)))
    ensemble = Ensemble(lineup, Prompts([None] * 2, [PLAIN] * 2, lineup, Vocabulary(3, ())))
    params = SamplingParams(max_tokens=4, temperature=0.7, seed=1)
    texts = [ensemble.generate([0, 1], params, schedule=name)[0].token_ids for name in ("standard", "auto")]
    assert len(texts[0]) == 4
    with pytest.raises(RequestError, match="do not warp by themselves"):
        ensemble.generate([0, 1], dataclasses.replace(params, presence_penalty=1.0))
