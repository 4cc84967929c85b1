"""A grid is run: everything asked for is measured, and an interruption loses nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from unisono.bench import grid, plots, report, run
from unisono.bench.grid import Case
from unisono.cli.result_file import require_matplotlib
from unisono.errors import ConfigurationError

MEMBERS = ["one", "other"]  # names only: the loader is given the models
CELLS: list[dict[str, Any]] = [
    {"name": "pick", "fixed": ["cos:1,1", "parallel"], "schedule": ["auto", "cos:1,2 block", "cos:1,2 token"],
     "bars": {"auto": 1.5}, "beside": {"they": [1, 2.5], "we": 3}, "timeline": "cos:1,2"},
    {"name": "rows", "rows": 2, "temperature": 0},
    {"name": "alone", "combine": "only:0", "temperature": 0, "peers": ["transformers:generate", "transformers:ensemble:2"]},
    {"name": "weight", "plot": "weight", "combine": ["weighted:0.2,0.8", "weighted:0.8,0.2"], "quality": True},
    {"name": "mu", "plot": "mu", "combine": ["contrastive:0.1", "contrastive:0.3"]},
    {"name": "length", "plot": "draft length", "schedule": ["cos:1,1", "cos:1,2", "speculative:1"]},
]  # fmt: skip


def cases(*names: str) -> list[Case]:
    common = {"members": MEMBERS, "tokens": 8, "count": 2, "repeats": 2, "combine": "weighted:0.5,0.5"}
    return grid.cases({**common, "cells": [cell for cell in CELLS if not names or cell["name"] in names]})


@pytest.fixture(scope="module")
def load() -> Callable[[Case], Any]:
    tokens = tiny.tokenizer()
    return run.loader([{"model": model, "tokenizer": tokens} for model in tiny.text_models("llama")])


@pytest.fixture(scope="module")
def document(load, tmp_path_factory) -> dict[str, Any]:
    """The result of all cells."""
    asked, path = cases(), tmp_path_factory.mktemp("bench") / "folder" / "result.json"
    run.check(asked, load)
    run.run(run.start(asked, path, False, preset="tiny"), asked, load)
    found: dict[str, Any] = json.loads(path.read_text())
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]
    return found


def test_every_choice_of_every_case_is_a_cell(document):
    """The picked one among them; `auto` says what it resolved to; peers that cannot are skipped by name."""
    assert document["complete"]
    assert "open" not in document
    assert {"commit", "versions", "cpu", "command", "grid"} <= set(document)
    assert len(document["cases"]) == len(cases())
    picked = document["cases"]["pick"]["picked"]
    stages = {(cell["stage"], cell["schedule"]) for cell in document["cells"] if cell["case"] == "pick"}
    measured = ("standard", "auto", "cos:1,2 block", "cos:1,2 token", picked)
    assert stages == {("pick", name) for name in ("standard", "cos:1,1", "parallel")} | {
        ("compare", n) for n in measured
    }
    assert picked in ("cos:1,1", "parallel")
    assert document["cases"]["pick"]["over picked"] > 0
    (auto,) = (c for c in document["cells"] if (c["case"], c["stage"], c["schedule"]) == ("pick", "compare", "auto"))
    assert auto["uses"].startswith("drawn:0.5,0.5 auto ")
    assert sum(auto["plans"].values()) == pytest.approx(1)
    assert auto["low"] <= auto["speedup"]
    alone = document["cases"]["alone"]
    assert alone["skipped"] == {"transformers:ensemble:2": "it mixes two models: for weighted"}
    assert "transformers:generate" in {cell["schedule"] for cell in document["cells"] if cell["case"] == "alone"}
    assert set(document["peer law"]) == {"exact", "transformers:ensemble:1", "unisono", "tokens"}


def test_predictions_are_there_where_they_can_be(document):
    """Not for several rows, members that run at once, what decides by the clock, or other libraries."""
    replayed = {(cell["case"], cell["schedule"]): cell["replayed"] for cell in document["cells"]}
    nothing = {key for key, value in replayed.items() if value is None and key[1] != "auto"}
    assert nothing == {("pick", "parallel"), ("rows", "standard"), ("alone", "transformers:generate")}
    assert all(value is None for (_, schedule), value in replayed.items() if schedule == "auto")
    assert replayed["pick", "standard"] == 1
    assert replayed["pick", "cos:1,1"] > 0


def test_figures_stand_beside_their_bars(document):
    """Bars of cells, `auto` over the picked one and over `standard`, verifications, measured over predicted."""
    found = {figure.name: figure for figure in report.figures(document)}
    assert (found["pick: auto"].bar, found["pick: auto"].met) in {(">= 1.5", "yes"), (">= 1.5", "no")}
    assert found["pick: auto"].beside == "they 1 to 2.5, we 3"
    assert "pick: cos:1,2, block / token" in found
    assert "auto / best fixed choice, geometric mean" in found
    assert any(name.startswith("auto / standard, lower bound") for name in found)
    assert found["measured / replayed, least"].value <= found["measured / replayed, most"].value
    text = report.markdown(document)
    assert "### weight, combine weighted:0.2,0.8" in text
    assert "Skipped: transformers:ensemble:2, it mixes two models" in text
    assert document["command"] in text


def test_every_plot_is_drawn(document, tmp_path: Path):
    """One file each for what the result holds; none for what it does not."""
    names = {path.name for path in plots.draw(document, tmp_path / "figures")}
    assert names == {f"{name}.svg" for name in ("speedups", "timeline", "dial", "draft-length", "weight", "mu")}
    assert all((tmp_path / "figures" / name).read_text().startswith("<?xml") for name in names)
    assert plots.draw({"cases": {}, "cells": []}, tmp_path) == []
    with pytest.raises(ConfigurationError, match="the plot cannot be written"):
        plots.draw(document, tmp_path / "figures" / "mu.svg")


def test_plots_without_matplotlib_are_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"install it with: pip install 'unisono\[plots\]'"):
        require_matplotlib("--plots")


@pytest.mark.parametrize("stop", [1, 3, 9, 13])
def test_an_interrupted_run_goes_on_where_it_stopped(load, tmp_path: Path, stop: int):
    """Whatever the moment: no run is measured twice, none is missing, and the file is whole at any time."""
    asked, path = cases("pick", "rows"), tmp_path / "result.json"
    total, ticks = sum(map(run.runs_of, asked)), []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(run.start(asked, path, False), asked, load, tick=tick)
    found = json.loads(path.read_text())
    kept = sum(len(runs) for stage, runs in found["open"].items() if stage != "case")
    assert kept == stop
    with pytest.raises(ConfigurationError, match="go on with --resume"):
        run.start(asked, path, False)
    with pytest.raises(ConfigurationError, match="no unfinished run of this grid"):
        run.start(asked[:1], path, True)
    resumed: list[int] = []
    document = run.run(run.start(asked, path, True), asked, load, tick=lambda: resumed.append(1))
    assert len(resumed) == total
    speeds = {(cell["case"], cell["stage"], cell["schedule"]) for cell in document["cells"]}
    assert len(speeds) == len(document["cells"]) == 3 + 5 + 2
    assert document["complete"]


def test_nothing_to_resume(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="there is nothing to resume"):
        run.start(cases("rows"), tmp_path / "none.json", True)


def test_a_mistake_in_the_last_case_is_said_first(load):
    asked = [*cases("rows"), *grid.cases({"cells": [{"members": MEMBERS, "schedule": "cos:1"}]})]
    with pytest.raises(ConfigurationError, match="cos:1 needs 2 draft lengths"):
        run.check(asked, load)
