"""The arithmetic of two commits side by side, on made-up seconds."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import two_commits

CELL = "zoo x1 standard"


def document(cell: str = CELL, **seconds: list[float]) -> dict[str, Any]:
    """Runs of a hundred tokens in so many seconds per round, a tenth of them outside of forwards."""
    runs = [
        {"round": index, "side": side, "cells": {cell: {"tokens": 100, "seconds": took, "outside": took / 10}}}
        for side, each in seconds.items()
        for index, took in enumerate(each)
    ]
    return {"conditions": {"cells": [cell]}, "runs": runs}


def test_ratios_are_taken_within_a_round():
    """The median over rounds of NEW/OLD, and the quartiles of OLD/OLD, whatever a round's speed was."""
    made = document(old=[1, 10, 100, 1, 1], new=[2, 10, 50, 4, 1], again=[1, 20, 50, 4, 1.25])
    figure = two_commits.figures(made)[CELL]
    assert figure["rounds"] == 5
    assert figure["ratio"] == pytest.approx(1.0)  # of 0.5, 1, 2, 0.25, 1
    assert figure["noise"] == pytest.approx([0.5, 1.0])  # of 1, 0.5, 2, 0.25, 0.8
    assert figure["outside"] == pytest.approx({"old": 1000.0, "new": 4000.0})  # microseconds per token


@pytest.mark.parametrize(
    ("schedule", "new", "again", "holds"),
    [
        ("standard", 1 / 0.985, 1, True),  # the bar
        ("standard", 1 / 0.97, 1, False),
        ("cos:1,1", 1 / 0.97, 1, False),
        ("auto", 1 / 0.97, 1, True),  # has a lower one
        ("standard", 1 / 0.97, 1 / 0.96, True),  # no slower than the old one beside itself
        ("standard", 0.5, 1, True),  # faster
    ],
)
def test_a_cell_holds_at_its_bar_or_within_noise(schedule: str, new: float, again: float, holds: bool):
    cell = f"90M x8 {schedule}"
    made = document(cell, old=[1, 1], new=[new, new], again=[again, again])
    assert two_commits.figures(made)[cell]["holds"] == holds


def test_a_round_that_was_cut_off_does_not_count():
    """Nor is anything told before the first round is whole."""
    assert two_commits.figures(document(old=[1, 1], new=[1, 9], again=[1]))[CELL]["rounds"] == 1
    assert two_commits.figures(document(old=[1], new=[1])) == {}


def test_a_file_of_other_runs_is_refused(tmp_path: Path):
    """A file is continued with the same commits, cells and tokens only."""
    path, given = tmp_path / "runs.json", {"tokens": 64, "cells": [CELL]}
    made = two_commits.opened(path, given)
    made["runs"].append({"round": 0, "side": "old", "cells": {}})
    two_commits.save(path, made)
    assert two_commits.opened(path, given) == made
    with pytest.raises(SystemExit, match="name another one: "):
        two_commits.opened(path, given | {"tokens": 32})
