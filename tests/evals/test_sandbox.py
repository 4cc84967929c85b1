"""Generated programs run apart, and end."""

import os
import time
from pathlib import Path

import pytest

from tests import tiny
from unisono.evals.code import HumanEval, program
from unisono.evals.sandbox import passes

PROBLEM = {
    "prompt": "def add(a, b):\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    "entry_point": "add",
}


def test_programs_pass_or_fail():
    assert passes(program(PROBLEM, "    return a + b\n"))
    assert not passes(program(PROBLEM, "    return a - b\n"))
    assert not passes(program(PROBLEM, "    return a +"))
    assert not passes("import sys; sys.exit(3)")


def test_endless_and_hungry_programs_are_ended():
    started = time.monotonic()
    assert not passes("while True: pass", seconds=1)
    assert not passes("x = bytearray(2**31)")
    assert not passes("open('large', 'wb').write(b'0' * 2**22)")
    assert time.monotonic() - started < 60


def test_children_of_a_program_end_with_it(tmp_path: Path):
    """A program that leaves a process behind leaves nothing running."""
    mark = tmp_path / "alive"
    late = f"import time; time.sleep(1.5); open({str(mark)!r}, 'w')"
    passes(f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {late!r}])")
    time.sleep(2.5)
    assert not mark.exists()


def test_a_program_sees_neither_folder_nor_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "1")
    here = os.getcwd()
    assert passes(f"import os\nassert 'SECRET_OF_THE_PARENT' not in os.environ\nassert os.getcwd() != {here!r}")
    assert passes("try:\n    import torch\nexcept ImportError:\n    pass\nelse:\n    raise SystemExit(1)")


def test_humaneval_runs_what_the_model_writes(monkeypatch: pytest.MonkeyPatch):
    """A model that writes nonsense solves nothing; the same problem with the right completion is solved."""
    ensemble = tiny.text_ensemble()
    task = HumanEval([PROBLEM])
    ran: list[str] = []

    def note(text: str) -> bool:
        ran.append(text)
        return True

    monkeypatch.setattr("unisono.evals.code.passes", note)
    outcome = task.run(ensemble, "only:0", "standard")
    assert outcome.scores == (1.0,)
    assert ran == [program(PROBLEM, outcome.texts[0])]
