"""Grids: lists become cases, presets hold, mistakes are one line that names them."""

from pathlib import Path
from typing import Any

import pytest

from unisono import zoo
from unisono.bench import grid
from unisono.bench.choice import Choice
from unisono.errors import ConfigurationError

PAIR = ["zoo:code-m", "zoo:code-s"]


def test_lists_are_dimensions_and_members_are_not():
    """Every value makes a case of its own; what stands beside the cells holds for all of them."""
    cell: dict[str, Any] = {
        "members": PAIR,
        "combine": ["weighted", "contrastive:0.1"],
        "temperature": [0, 1],
        "rows": [1, 8],
    }
    found = grid.cases({"tokens": 16, "cells": [cell, {"members": PAIR, "tokens": 8, "name": "alone"}]})
    assert len(found) == 9
    assert {case.members for case in found} == {tuple(PAIR)}
    assert {(case.combine, case.temperature, case.rows) for case in found[:8]} == {
        (combine, temperature, rows)
        for combine in cell["combine"]
        for temperature in cell["temperature"]
        for rows in cell["rows"]
    }
    assert {case.tokens for case in found[:8]} == {16}
    assert (found[8].name, found[8].tokens) == ("alone", 8)
    assert len({case.name for case in found}) == 9


def test_choices_say_what_they_change():
    """A schedule, and of the case a verification and a combination; the baseline comes first, once."""
    assert Choice.parse("cos:1,6 block").overrides == {"schedule": "cos:1,6", "verification": "block"}
    drawn = Choice.parse("risky:2 drawn:0.5,0.5")
    assert (drawn.schedule, drawn.verification, drawn.combine) == ("risky:2", None, "drawn:0.5,0.5")
    assert drawn.label == "risky:2 drawn:0.5,0.5"
    (case,) = grid.cases({"cells": [{"members": PAIR, "schedule": ["auto", "standard", "auto"], "fixed": "cos:1,1"}]})
    assert [[each.label for each in group] for group in case.choices()] == [["standard", "auto"], ["cos:1,1"]]


def test_the_grid_of_make_bench_can_be_measured():
    cases = grid.read(Path(__file__).parents[2] / "benchmarks" / "short.yaml")
    assert [len(case.choices()[0]) for case in cases] == [5, 5, 4, 5]


@pytest.mark.parametrize("name", grid.presets())
def test_presets_can_be_measured(name: str):
    """Bundled members, known prompts, choices that can be read; of what is picked there is something to pick from."""
    assert {"paper", "sweeps"} <= set(grid.presets())
    for case in grid.preset(name):
        assert {member.removeprefix("zoo:").partition("@")[0] for member in case.members} <= set(zoo.names())
        choices, fixed = case.choices()
        labels = {choice.label for choice in choices}
        assert len(choices) > 1
        assert set(case.bars) <= labels | {"lookup:8"}
        assert not case.bars or fixed or case.rows > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "a grid needs a list of cells"),
        ({"cells": "all"}, "a grid needs a list of cells"),
        ({"cells": [PAIR]}, "a cell must be a mapping"),
        ({"cells": [{"combine": "weighted"}]}, "a case needs members"),
        ({"cells": [{"members": PAIR, "shedule": "auto"}]}, "did you mean 'schedule'"),
        ({"cells": [{"members": PAIR, "rows": [1, 0]}]}, "rows of a case must be an integer, 1 or more, not: 0"),
        ({"cells": [{"members": PAIR, "temperature": "hot"}]}, "temperature of a case must be a number"),
        ({"cells": [{"members": PAIR, "schedule": 3}]}, "schedule must be a list, not: 3"),
        ({"cells": [{"members": PAIR, "name": "a"}] * 2}, "two cases are called 'a'"),
    ],
)
def test_mistakes_name_themselves(content: Any, message: str):
    with pytest.raises(ConfigurationError, match=r"\A[^\n]+\Z") as error:
        grid.cases(content, "my.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["", "cos:1,1 block token", "cos:1,1 weighted drawn", 7])
def test_a_choice_says_a_thing_once(text: object):
    with pytest.raises(ConfigurationError, match="a choice is SCHEDULE"):
        Choice.parse(text)


def test_a_grid_is_read_from_a_file(tmp_path: Path):
    """YAML; a key twice, or no YAML at all, is the config reader's one line."""
    file = tmp_path / "grid.yaml"
    file.write_text('cells:\n  - members: [zoo:code-m]\n    combine: ["only:0"]\n')
    assert [case.combine for case in grid.read(file)] == ["only:0"]
    file.write_text("cells: [")
    with pytest.raises(ConfigurationError, match="not valid YAML"):
        grid.read(file)
    with pytest.raises(ConfigurationError, match="did you mean 'paper'"):
        grid.preset("papers")
