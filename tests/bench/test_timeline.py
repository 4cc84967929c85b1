"""The timeline tells what the statistics and the commits tell, and when."""

from tests import tiny
from unisono import SamplingParams
from unisono.bench.timeline import timeline

PARAMS = SamplingParams(max_tokens=24, seed=1)


def test_a_timeline_is_a_run_in_time():
    ensemble = tiny.text_ensemble()
    found = timeline(ensemble, "def f", PARAMS, schedule="cos:2,1")
    (result,) = ensemble.generate("def f", PARAMS, schedule="cos:2,1")
    assert found["members"] == ensemble.names
    assert found["method"] == f"{result.combination} cos:2,1 token"
    assert [each[1:] for each in found["commits"]] == [[each.origin, each.member] for each in result.commits]
    for index, member in enumerate(result.stats.members):
        assert sum(each[0] == index for each in found["forwards"]) == member.forwards
    times = [time for _, start, end, _ in found["forwards"] for time in (start, end)]
    assert times == sorted(times)
    assert 0 <= times[0] <= found["commits"][0][0]
    assert found["forwards"][0][3] >= 0
    assert [each[0] for each in found["commits"]] == sorted(each[0] for each in found["commits"])


def test_nothing_listens_afterwards():
    """The second timeline has its own forward passes only."""
    ensemble = tiny.text_ensemble()
    first, second = (timeline(ensemble, "def f", PARAMS, schedule="cos:2,1") for _ in range(2))
    assert len(first["forwards"]) == len(second["forwards"])
