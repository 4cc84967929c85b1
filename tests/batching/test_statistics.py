"""What is counted about a request, against what its tokens tell."""

import json
from collections import Counter

import pytest

from tests import tiny
from tests.core.helpers import HistoryMember, observed, schedules
from unisono import SamplingParams
from unisono.decoding import Schedule, cos
from unisono.sampling.noise import KeyedNoise
from unisono.types import Stats


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("index", range(5, 8))
def test_counts_by_position_and_lengths_are_those_of_the_blocks(members: int, index: int):
    """Each round's commits say which proposals stood, and where in their block; the last may have been replaced."""
    schedule: Schedule = schedules(members)[index]
    run = observed([HistoryMember.random(4, seed) for seed in range(members)], schedule, KeyedNoise(1), 60)
    decided = [Counter[int]() for _ in range(members)]
    accepted = [Counter[int]() for _ in range(members)]
    lengths = [Counter[int]() for _ in range(members)]
    for commits in run.rounds:
        block = [commit for commit in commits if commit.member is not None]
        for position, commit in enumerate(block):
            assert commit.member is not None
            decided[commit.member][position] += 1
            accepted[commit.member][position] += commit.origin == "accepted"
        for member in {commit.member for commit in block}:
            assert member is not None
            lengths[member][sum(each.member == member and each.origin == "accepted" for each in block)] += 1
    for member, stats in enumerate(run.row.stats.members):
        assert stats.decided_by_position == [decided[member][k] for k in range(len(stats.decided_by_position))]
        assert stats.accepted_by_position == [accepted[member][k] for k in range(len(stats.accepted_by_position))]
        assert stats.lengths == [lengths[member][k] for k in range(len(stats.lengths))]
        assert stats.decided == decided[member].total() > 0
        assert stats.accepted == accepted[member].total() == sum(k * n for k, n in enumerate(stats.lengths))
        assert sum(stats.lengths) == lengths[member].total()
    assert run.row.stats.tokens == len(run.tokens) == 60


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_tokens_behind_the_end_count_nowhere(kept: int):
    """A block of four, cut by the end of the text: counters know its first tokens only."""
    members = [HistoryMember.random(4, 1), HistoryMember.random(4, 1)]  # equal: everything is accepted

    run = observed(members, cos(4, 1), KeyedNoise(1), 8)
    blocks = [len(commits) for commits in run.rounds if len(commits) >= 4]
    assert blocks, "no block to cut"
    stats = Stats([type(each)(each.name) for each in run.row.stats.members])
    stats.count([0, 0, 0, 1][:kept], min(kept, 4), kept)
    assert (stats.tokens, stats.verified, stats.accepted) == (kept, kept, kept)
    assert stats.members[0].lengths == [0] * kept + [1]


def test_time_is_inside_or_outside_of_forwards():
    """Of rows alone, both add up to the wall time; of rows together, the shares of all rows do."""
    ensemble = tiny.ensemble(tiny.models("llama"))
    params = SamplingParams(max_tokens=20, seed=1)
    (alone,) = ensemble.generate([5, 9], params, schedule="cos:4,1")
    stats = alone.stats
    assert stats.inside > 0
    assert stats.outside > 0
    assert stats.inside + stats.outside <= stats.seconds
    together = [result.stats for result in ensemble.generate([[5, 9], [3], [8]], params, schedule="cos:4,1")]
    assert sum(each.inside + each.outside for each in together) <= max(each.seconds for each in together) * 1.01
    found = json.loads(json.dumps(stats.as_dict()))
    assert found["inside"] == stats.inside
    assert found["members"][1]["accepted"] == stats.members[1].accepted
