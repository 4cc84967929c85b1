"""The comparison of recorded texts, on records made by hand."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import texts
from texts_cases import cases, served_requests

RECORD: dict[str, Any] = {
    "text": "5fb911a11a137c38",
    "tokens": [4, 5, 6],
    "logprobs": [-1.0, -2.0, -3.0],
    "top_logprobs": [[[4, -1.0]], [[5, -2.0]], [[6, float("-inf")]]],
    "code-m": {"forwards": 3},
}
OLD = {"pair cos:1,1 #0": RECORD, "pair cos:1,1 #1": RECORD}


def compared(**changes: Any) -> list[str]:
    """The lines where these fields of the second request have changed."""
    return texts.compare(OLD, {**OLD, "pair cos:1,1 #1": RECORD | changes})


def test_equal_records_have_no_difference():
    assert texts.compare(OLD, copy.deepcopy(OLD)) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"text": "000"}, "text: '5fb911a11a137c38' -> '000'"),
        ({"tokens": [4, 7, 8]}, "tokens[1]: 5 -> 7"),
        ({"tokens": [4, 5]}, "tokens: [4, 5, 6] -> [4, 5]"),
        ({"code-m": {"forwards": 4}}, "code-m.forwards: 3 -> 4"),
        ({"code-m": {}}, "code-m.forwards: 3 -> None"),
        ({"logprobs": [-1.0, -2.00002, -3.0]}, "logprobs[1]: -2.0 -> -2.00002"),
        ({"logprobs": None}, "logprobs: [-1.0, -2.0, -3.0] -> None"),
        ({"top_logprobs": [[[4, -1.0]], [[5, -2.1]], [[6, float("-inf")]]]}, "top_logprobs[1][0][1]: -2.0 -> -2.1"),
    ],
)
def test_each_difference_is_one_line(changes: dict[str, Any], line: str):
    assert compared(**changes) == [f"pair cos:1,1 #1: {line}"]


def test_rounding_of_log_probabilities_is_no_difference():
    assert compared(logprobs=[-1.000009, -2.0, -2.999991]) == []


def test_requests_that_are_missing_or_new_are_differences():
    lines = texts.compare(OLD, {"pair cos:1,1 #0": RECORD, "other #0": RECORD})
    assert lines == ["pair cos:1,1 #1: request: recorded -> missing", "other #0: request: missing -> new"]


@pytest.mark.parametrize(("forwards", "status"), [(3, 0), (4, 1)])
def test_the_exit_status_says_whether_there_are_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: int, status: int
):
    """Only requests that match are compared: the other one was not run."""
    file = tmp_path / "texts.json"
    file.write_text(json.dumps({**OLD, "server echo #0": RECORD}), encoding="utf-8")
    monkeypatch.setattr(texts, "run", lambda pattern: {"server echo #0": RECORD | {"code-m": {"forwards": forwards}}})
    monkeypatch.setattr(sys, "argv", ["texts.py", "compare", str(file), "--only", "^server"])
    with pytest.raises(SystemExit) as end:
        texts.main()
    assert end.value.code == status


def test_each_request_has_a_name_of_its_own():
    """Else one would be compared in place of another."""
    names = [case.name for case in cases()] + [name for name, _ in served_requests()]
    assert sorted(names) == sorted(set(names))
