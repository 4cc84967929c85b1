"""Measurements: what is counted, not how long it takes."""

import json

import pytest

from unisono import Ensemble, SamplingParams
from unisono.bench import predict, speed
from unisono.bench.measure import compare
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance


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


@pytest.mark.slow
def test_the_benchmark_writes_a_result_file(tmp_path, monkeypatch):
    """One object with provenance and a cell per schedule."""
    monkeypatch.setattr("sys.argv", ["speed", "--short", "--output", str(tmp_path / "out.json")])
    speed.main()
    document = json.loads((tmp_path / "out.json").read_text())
    assert len(document["cells"]) == sum(len(case.schedules) + 1 for case in speed.CASES[:4])


def test_a_member_that_standard_does_not_run_has_no_cost():
    """`only` needs one member: the other has no forwards to compare, and the table shows none."""
    ensemble = Ensemble.load(["zoo:code-m", "zoo:code-s"], "only:0")
    cells = compare(ensemble, PYTHON[:1], SamplingParams(max_tokens=6, ignore_eos=True), ["speculative:2"], 1)
    assert [cell.cost for cell in cells] == [None, None]
    assert cells[1].acceptance is not None
