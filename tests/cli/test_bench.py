"""`unisono bench` at its surface: a table, a profile, a result file, and mistakes in one line."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

SHORT = ["--prompts", "1", "--repeats", "1", "--max-tokens", "8"]


def test_schedules_are_compared_with_standard(run, tmp_path: Path):
    """A line per schedule, the baseline first; the file has every number and where it comes from."""
    output = tmp_path / "bench.json"
    found = run("bench", "--schedule", "cos:1,1", "--schedule", "speculative:2", *SHORT, "--output", str(output))
    assert found.code == 0, found.err
    assert [name in found.out for name in ("standard", "cos:1,1", "speculative:2")] == [True] * 3
    document = json.loads(output.read_text())
    assert [cell["schedule"] for cell in document["cells"]] == ["standard", "cos:1,1", "speculative:2"]
    assert document["cells"][0]["speedup"] == 1
    assert {"command", "commit", "versions", "cpu"} <= set(document)


def test_a_profile_says_where_the_time_goes(run, tmp_path: Path):
    """Every part of a round, in shares that add up to one; prompts from a file."""
    texts = tmp_path / "prompts.txt"
    texts.write_text("def f(x):\n\nimport os\n")
    output = tmp_path / "profile.json"
    found = run("bench", "--profile", "--schedule", "cos:1,1", "--text", str(texts), *SHORT, "--output", str(output))
    assert found.code == 0, found.err
    shares = json.loads(output.read_text())["profiles"]["cos:1,1"]["shares"]
    assert {"forward code-m", "forward code-n", "warp", "combine", "verify", "bookkeeping"} <= set(shares)
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "cosy:1"], "unknown schedule: 'cosy:1'"),
        (["--text", "no/such/file"], "prompts cannot be read: no/such/file"),
        (["--combine", "weighted:1,2,3"], "3 weights for 2 members"),
    ],
)
def test_mistakes_are_one_line(run, arguments: list[str], message: str):
    found: Outcome = run("bench", *arguments, *SHORT)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1
