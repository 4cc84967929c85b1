"""Help is shown at once: nothing that takes long is imported for it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import unisono
from unisono import cli

COMMANDS: Any = get_command(cli.app)
HELP = [[], *([name] for name in COMMANDS.commands), ["bench", "predict"], ["--version"]]
HEAVY = ["torch", "transformers", "tokenizers", "huggingface_hub", "numpy", "fastapi", "uvicorn", "unisono.ensemble"]
PROGRAM = """
import json, sys
from unisono import cli
sys.argv[0] = "unisono"
try:
    cli.main()
except SystemExit as stopped:
    print(json.dumps([stopped.code, *sys.modules]))
"""


def program(*arguments: str, **environment: str) -> tuple[str, list[Any]]:
    """What `unisono` prints with these arguments and variables, and its exit code before the modules that it imported."""
    command, variables = [sys.executable, "-c", PROGRAM, *arguments], {**os.environ, **environment}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    shown, _, last = done.stdout.rpartition("[")
    return shown, json.loads("[" + last)


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_help_imports_nothing_heavy(command: list[str]):
    """Neither what runs models nor what serves them, for the program and for each of its commands."""
    arguments = command if "--version" in command else [*command, "--help"]
    shown, (code, *modules) = program(*arguments)
    assert code == 0
    assert "unisono" in shown
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("unisono gen", ["generate"]),
        ("unisono fit", ["fit-tree"]),
        ("unisono bench pre", ["predict"]),
        ("unisono serve --members-a", ["--members-alone"]),
        ("unisono generate --generation", ["--generation-config"]),
    ],
)
def test_shells_complete_commands_and_options(words: str, found: list[str]):
    """At once: nothing heavy is imported at the press of a key."""
    count = str(words.count(" "))
    shown, (code, *modules) = program(_UNISONO_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
    assert (code, shown.split()) == (0, found)
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_the_completion_of_every_shell_is_shown(shell: str):
    shown, (code, *_) = program("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert code == 0
    assert "_UNISONO_COMPLETE" in shown


def test_public_names_are_imported_when_they_are_used():
    """The package alone is light; so are its parameters and its errors."""
    program = "import sys, unisono; unisono.SamplingParams, unisono.RequestError; print('torch' in sys.modules)"
    program += "; unisono.Ensemble; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_an_interruption_of_the_imports_is_no_traceback(run, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while a command still imports what it needs."""

    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "unisono.cli.generate":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "unisono.cli.generate", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    done = run("generate", "x")
    assert (done.code, done.out, done.err) == (130, "", "unisono: interrupted\n")


def test_a_file_beside_the_user_is_no_module_of_the_program(tmp_path):
    """Files there may be called as modules that the program imports."""
    (tmp_path / "transformers.py").write_text("raise SystemExit(7)")
    program = "import sys; sys.path.remove(''); from unisono import cli; cli.main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(unisono.__file__).parents[1])}
    arguments = [sys.executable, "-c", program, "members", "-m", "zoo:no-such"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 2, done.stderr
    assert "unknown bundled model: 'no-such'" in done.stderr
