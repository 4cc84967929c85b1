"""A command's options are one value, declared once."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from unisono import cli
from unisono.cli.signature import argument, flag, given, option, with_options


@dataclass(frozen=True)
class Inner:
    names: list[str] = option("A name; repeat it.", "--name", default=[])
    seed: int | None = option("A seed.")


@dataclass(frozen=True)
class Outer:
    text: str | None = argument("A text.")
    inner: Inner = field(default_factory=Inner)
    too_loud: bool = flag("Whether it is loud.")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Outer()),
        (["x", "--name", "a", "--name", "b", "--too-loud"], Outer("x", Inner(["a", "b"]), True)),
        (["--seed", "0"], Outer(inner=Inner(seed=0))),
    ],
)
def test_a_command_gets_one_value(arguments: list[str], expected: Outer):
    """Fields of inner dataclasses are options like the others; help texts and defaults are the fields' own."""
    taken: list[Outer] = []

    @with_options
    def command(options: Outer) -> None:
        """What it does."""
        taken.append(options)

    app = typer.Typer()
    app.command()(command)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert taken == [expected]
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(part in shown for part in ("What it does.", "A text.", "A name; repeat it.", "--seed", "--too-loud"))
    assert "--no-too-loud" not in shown


def test_given_are_the_options_that_say_something():
    """Zero and the empty text are values; None, False and an empty list are not."""
    assert given(Outer()) == {}
    assert given(Outer("", Inner(["a"], 0), True)) == {"text": "", "names": ["a"], "seed": 0, "too_loud": True}


def test_commands_that_decode_share_their_options():
    """Whatever says which members are loaded, how, and how they decode; `bench` measures no draft model."""
    commands: Any = get_command(cli.app)
    found = {name: {option.name for option in command.params} for name, command in commands.commands.items()}
    source = {"members", "dtype", "device", "compile", "deterministic", "context_length", "cache_dir"}
    method = {"combine", "schedule", "verification", "config"}
    for name in ("generate", "chat", "serve"):
        assert found[name] >= source | method | {"draft", "threads"}
    assert found["bench"] >= source | method
    assert all(found[name] >= source for name in ("members", "eval", "fit-tree"))


def test_a_benchmark_with_seed_zero_has_that_seed(run, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("cells: [{members: [zoo:code-s]}]")
    done = run("bench", "--grid", str(grid), "--seed", "0")
    assert (done.code, "--seed has no use with --grid" in done.err) == (2, True)
