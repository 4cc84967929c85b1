"""The demonstration's last sentence says what was measured, and its choices are those that a user can name."""

import sys
from pathlib import Path

import pytest

from unisono.bench.choice import Choice
from unisono.bench.measure import Cell
from unisono.ensemble import Ensemble

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from demo import PARTS, Part, conclusion


def cell(schedule: str, speedup: float) -> Cell:
    return Cell(schedule, speedup, (speedup,), 100 * speedup, 0.5, (), (0.5, 0.5), None, None)


def test_conclusion_says_what_was_measured():
    measured = [
        (part, [cell("standard", 1.0), cell(part.paper, 1.25 + index), cell("auto", 1.5 + index)])
        for index, part in enumerate(PARTS)
    ]
    sentence = conclusion(measured)
    assert "1.50 times as fast as `standard` with the weighted pair (the paper's schedule 1.25 times)" in sentence
    assert "2.50 times as fast as `standard` with the contrastive pair (the paper's schedule 2.25 times)" in sentence
    assert sentence.count(".") == 5  # four numbers, and the end of the one sentence


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_papers_schedule_fits_its_members(part: Part):
    ensemble = Ensemble.load(part.members, part.combination)
    method = ensemble.method(**Choice.parse(part.paper).overrides)
    assert method.names["verification"] == "token"
    assert ensemble.method().names["schedule"] == "auto"
