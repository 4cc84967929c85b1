"""`unisono bench` at its surface: a table, a profile, a result file, and mistakes in one line."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from unisono.bench import measure

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
    assert {"forward code-m", "forward code-n", "combine", "verify", "bookkeeping"} <= set(shares)
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "cosy:1"], "unknown schedule: 'cosy:1'"),
        (["--text", "no/such/file"], "prompts cannot be read: no/such/file"),
        (["--combine", "weighted:1,2,3"], "3 weights for 2 members"),
        (["--schedule", "cos:1,1 block token"], "a choice is SCHEDULE [VERIFICATION] [COMBINATION]"),
        (["--preset", "paper"], "--max-tokens has no use with --preset"),
        (["--peer", "transformers:generates"], "did you mean 'transformers:generate'"),
        (["--resume"], "there is nothing to resume"),
        (["--profile", "--temperature", "0", "--temperature", "1"], "--profile is for one case, not for 2"),
        (["-m", "zoo:code-m@9B"], "unknown size of an enlarged bundled model: '9B'; available: 90M"),
    ],
)
def test_mistakes_are_one_line(run, arguments: list[str], message: str):
    found: Outcome = run("bench", *arguments, *SHORT)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "papers"], "unknown preset: 'papers'; did you mean 'paper'?"),
        (["--grid", "no.yaml"], "config file cannot be read: no.yaml"),
        (["--preset", "paper", "--grid", "no.yaml"], "--grid has no use with --preset"),
        (["--repeats", "1", "predict"], "--repeats has no use with predict"),
        (["predict", "--schedule", "cos:1"], "cos:1 needs 2 draft lengths"),
        (["predict", "--text", "no/such/file"], "prompts cannot be read: no/such/file"),
    ],
)
def test_mistakes_of_a_preset_or_a_prediction_are_one_line(run, arguments: list[str], message: str):
    found: Outcome = run("bench", *arguments)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1


def test_a_prediction_says_what_pays(run, tmp_path: Path):
    """Best first, with the cost ratio and each member's acceptance; the same as JSON."""
    output = tmp_path / "predicted.json"
    asked = ["--schedule", "standard", "--schedule", "cos:1,1", "--max-tokens", "8", "--prompts", "1"]
    found = run("bench", "predict", "-m", "zoo:code-m", "-m", "zoo:code-s", *asked, "--output", str(output))
    assert found.code == 0, found.err
    assert "expected acceptance of its proposals" in found.out
    assert "cost ratio" in found.out
    document = json.loads(output.read_text())
    assert [cell["schedule"] for cell in document["cells"]] == ["standard", "cos:1,1"]
    assert document["cells"][0]["replayed"] == 1
    assert {"cost", "acceptances", "commit"} <= set(document)


def test_a_grid_is_measured_and_drawn(run, tmp_path: Path):
    """From a file: tables on the terminal, Markdown, pictures; what a peer cannot do is named; Ctrl-C says how to go on."""
    grid = tmp_path / "grid.yaml"
    cell = "members: [zoo:code-m, zoo:code-s], count: 1, repeats: 1, tokens: 6, peers: [transformers:generate]"
    grid.write_text(f"cells:\n  - {{{cell}, name: pair, timeline: auto}}\n")
    files = {name: tmp_path / name for name in ("out.json", "out.md", "figures")}
    found = run(
        "bench", "--grid", str(grid), "--output", str(files["out.json"]), "--markdown", str(files["out.md"]),
        "--plots", str(files["figures"]),
    )  # fmt: skip
    assert found.code == 0, found.err
    assert "skipped: transformers:generate, it decodes one model: for only:0" in found.out
    assert "### pair" in files["out.md"].read_text()
    assert {path.name for path in files["figures"].iterdir()} == {"speedups.svg", "timeline.svg"}


def test_an_interruption_says_how_to_go_on(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / "out.json"
    measured = measure.measure

    def stopping(*arguments, **options):
        yield next(measured(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure", stopping)
    asked = ["--schedule", "cos:1,1", *SHORT, "--output", str(output)]
    found = run("bench", *asked)
    assert found.code == 130
    assert "go on with --resume" in found.err
    monkeypatch.undo()
    assert "go on with --resume" in run("bench", *asked).err
