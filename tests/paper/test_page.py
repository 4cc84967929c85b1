"""`docs/paper.md` tells the truth: its commands are understood, and there is one for every row of the paper's tables.

Some are run as they stand, in a folder where stand-ins lie under the names of the checkpoints.
"""

import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.paper import checkpoints, pairs
from unisono import SamplingParams, cli
from unisono.methods import as_schedule

pytestmark = pytest.mark.xdist_group("paper")  # one worker writes the stand-ins
PAGE = pairs.ROOT / "docs" / "paper.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = tuple(dict.fromkeys(re.findall(r"(?:^|`)unisono ([^`\n]+)", TEXT, flags=re.MULTILINE)))
GENERATE = tuple(command for command in COMMANDS if command.startswith("generate "))
(SNIPPET,) = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


def options(command: str) -> dict[str, Any]:
    """What the command line makes of a command; an unknown option is an error."""
    name, *arguments = shlex.split(command)
    known: Any = get_command(cli.app)
    parsed: dict[str, Any] = known.commands[name].make_context(name, arguments).params
    return parsed


@pytest.fixture
def folder(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder for a command: the root of the repository as far as the page knows it, and the hub."""
    if not (hub / "configs").exists():
        (hub / "configs").symlink_to(pairs.ROOT / "configs")
        (hub / "prompt.txt").write_text("def f(x):", encoding="utf-8")
    monkeypatch.chdir(hub)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    return hub


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str):
    """The command and all its options exist."""
    options(command)


@pytest.mark.parametrize("command", GENERATE)
def test_files_and_schedules_fit(command: str):
    """The config exists, and the schedule is one for its members."""
    given = options(command)
    config = pairs.read(given["config"].stem)
    assert (pairs.ROOT / given["config"]).is_file()
    count = len(config.members)
    as_schedule(given["schedule"] or config.schedule, [1] * count, range(count))


def test_every_row_of_the_paper_has_a_command():
    """Each config with standard decoding, in parallel, SD and CoS; contrastive decoding at both temperatures."""
    rows = [options(command) for command in GENERATE]
    found = {(row["config"].stem, row["temperature"], (row["schedule"] or "").partition(":")[0]) for row in rows}
    for name in pairs.FILES:
        contrastive = str(pairs.read(name).combine).startswith("contrastive")
        for temperature in (0.0, 1.0) if contrastive else (None,):
            assert {(name, temperature, kind) for kind in ("standard", "parallel", "speculative", "cos")} <= found


def test_cos_rows_have_the_schedule_of_their_file():
    for row in map(options, GENERATE):
        if (row["schedule"] or "").startswith("cos"):
            assert row["schedule"] == pairs.read(row["config"].stem).schedule


@pytest.mark.parametrize("name", ["opt", "qwen-3b"])
def test_a_command_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """As it stands, with tokenizers read from the checkpoints' folders; only the text is kept short."""
    for source in pairs.read(name).members:
        checkpoints.write(source.model, folder)
    command = next(command for command in GENERATE if f"/{name}.yaml" in command and "cos:" in command)
    arguments = [*shlex.split(command), "--max-tokens", "8", "--dtype", "float32", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["unisono", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    assert stopped.value.code == 0, captured.err
    assert "8 tokens" in captured.err
    assert pairs.read(name).schedule in captured.err


def test_the_snippet_runs(folder: Path, capsys: pytest.CaptureFixture[str]):
    """It prints a speed for each of its schedules; texts are kept short."""
    for source in pairs.read("opt").members:
        checkpoints.write(source.model, folder)
    short = SNIPPET.replace("settings.params", "SamplingParams(max_tokens=4)")
    exec(compile(short, str(PAGE), "exec"), {"SamplingParams": SamplingParams})
    assert capsys.readouterr().out.count("tokens/s") == 3
