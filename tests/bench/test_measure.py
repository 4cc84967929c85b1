"""Measurements: what is counted, not how long it takes."""

import sys
from pathlib import Path

import pytest

from unisono import Ensemble, SamplingParams
from unisono.bench import members, predict
from unisono.bench.measure import Run, lower_bound, middle, ratios
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance
from unisono.errors import ConfigurationError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from speeds import compare


def test_a_cell_counts_forwards_and_acceptance():
    """Standard runs each member once per token; cos fewer; progress is told of every run."""
    ensemble = Ensemble.load(["zoo:code-m", "zoo:code-s"])
    ticks = []
    params = SamplingParams(max_tokens=12, ignore_eos=True)
    standard, cos = compare(ensemble, PYTHON[:2], params, ["cos:1,4"], 2, lambda: ticks.append(1))
    assert (standard.schedule, cos.schedule) == ("standard", "cos:1,4")
    assert standard.forwards == (1.0, 1.0)
    assert standard.speedup == 1.0
    assert standard.acceptance is None
    assert cos.forwards[0] < 1
    assert cos.acceptance is not None
    assert 0 < cos.acceptance < 1
    assert cos.predicted is not None
    assert len(cos.acceptances) == 4  # R22: acceptance may vary from run to run; the result file shows by how much
    assert len(cos.speedups) == 2
    assert len(ticks) == 8


def test_predictions_follow_the_proposer():
    """Draft lengths belong to members as listed; the formula's first one to the default proposer."""
    assert (
        predict.of("cos:1,4", 1, 0.3, 0.8) == predict.of("cos:4,1", 0, 0.3, 0.8) != predict.of("cos:1,4", 0, 0.3, 0.8)
    )
    assert predict.of("parallel", 0, 0.3, 0.8) is None
    assert predict.of("cos:1,1", 0, 0.3, None) is None


def test_provenance_says_where_a_number_comes_from():
    """Command, commit, versions and hardware."""
    found = provenance()
    assert {"command", "commit", "time", "python", "versions", "cpu", "cores"} <= found.keys()
    assert found["versions"]["torch"]


def test_a_member_that_standard_does_not_run_has_no_cost():
    """`only` needs one member: the other has no forwards to compare, and the table shows none."""
    ensemble = Ensemble.load(["zoo:code-m", "zoo:code-s"], "only:0")
    cells = compare(ensemble, PYTHON[:1], SamplingParams(max_tokens=6, ignore_eos=True), ["speculative:2"], 1)
    assert [cell.cost for cell in cells] == [None, None]
    assert cells[1].acceptance is not None


def runs(choice: str, *speeds: list[float]) -> list[Run]:
    """One run per prompt and repeat with these tokens per second."""
    return [
        Run(choice, group, repeat, tokens=10, seconds=10 / speed, names={})
        for group, each in enumerate(speeds)
        for repeat, speed in enumerate(each)
    ]


def test_ratios_are_of_runs_beside_each_other():
    """Of the same prompt and repeat, in whatever order they come; medians of medians."""
    mine, theirs = runs("a", [2, 6, 4], [10, 10, 10]), runs("b", [1, 2, 4], [5, 2, 1])
    gains = ratios(mine, theirs[::-1])
    assert gains == [pytest.approx([2, 3, 1]), pytest.approx([2, 5, 10])]
    assert middle(gains) == pytest.approx((2 + 5) / 2)


def test_the_lower_bound_knows_how_sure_we_are():
    """Equal ratios leave no doubt; spread ones do, between the smallest and the median; the same each time."""
    assert lower_bound([[1.5, 1.5]] * 4) == 1.5
    spread = [[1.0, 1.2], [1.6, 1.8], [1.7, 1.7], [2.0, 2.4]]
    assert 1.0 <= lower_bound(spread) < middle(spread)
    assert lower_bound(spread) == lower_bound(spread)
    assert lower_bound(spread) < lower_bound(spread * 4)


def test_enlarged_members_keep_their_name_and_law(monkeypatch: pytest.MonkeyPatch):
    """A bundled model at another cost, beside the small one: greedy texts agree in float32."""
    monkeypatch.setitem(members.SIZES, "tiny", {"hidden": 256, "layers": 3, "intermediate": 600})
    pair = members.load(["zoo:code-s@tiny", "zoo:code-s"], "only:0", dtype="float32", compile="off")
    assert pair.names == ["code-s@tiny", "code-s"]
    assert pair.members[0].parameters > pair.members[1].parameters
    params = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
    large, small = (pair.generate(PYTHON[0], params, combine=f"only:{index}")[0].token_ids for index in range(2))
    assert large == small
    for name, message in (("zoo:code-s@9B", "available: 90M, tiny"), ("zoo:code-m@tiny", "can only be enlarged")):
        with pytest.raises(ConfigurationError, match=message):
            members.load([name])
