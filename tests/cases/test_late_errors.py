"""What is wrong is said in one line, before the work: combinations that are none, outputs that cannot be written, Ctrl-C."""

import importlib
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.cli.conftest import run  # noqa: F401 - a fixture
from unisono import ConfigurationError, Ensemble, SamplingParams, cli, combine
from unisono.combine import parse

LAWS = """
from unisono import combine
def raises(logits, warp):
    raise OSError(5, "the law is out of reach")
def narrow(logits, warp):
    return warp(logits[0])[..., :-1]
def one(logits):
    return logits[0].softmax(-1)
def nothing(logits, warp):
    pass
made = combine.weighted([0.2, 0.8])
number = 3
class Raising(combine.Combination):
    name = "raising"
    def scores(self, logits):
        raise OSError(5, "the scores are out of reach")
raising = Raising()
"""
PAIR = ("-m", "zoo:code-s", "-m", "zoo:code-s")
BAD = [
    ("os:getcwd", "combination getcwd must be a function of the members' logits and a warp: too many"),
    ("laws:one", "combination one must be a function of the members' logits and a warp"),
    ("laws:number", "is not a function"),
    ("laws:raises", "combination raises failed (OSError: [Errno 5] the law is out of reach; laws.py, line 4)"),
    ("laws:raising", "combination raising failed (OSError: [Errno 5] the scores are out of reach; laws.py, line 16)"),
    ("laws:Raising", "combination Raising is a class; give an object of it"),
    ("builtins:max", "combination max failed (TypeError"),
    ("laws:narrow", "must return a law of shape"),
    ("laws:nothing", "not: NoneType"),
    ("leaving:law", "combination leaving:law cannot be imported (SystemExit: 3)"),
    ("broken:law", "combination broken:law cannot be imported (SyntaxError"),
]


@pytest.fixture
def laws(tmp_path, monkeypatch):
    (tmp_path / "laws.py").write_text(LAWS, encoding="utf-8")
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(3)\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("def law(:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("laws", "leaving", "broken"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def one_line(outcome) -> str:
    assert outcome.code in (1, 2)  # 1: only decoding shows it
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    return outcome.err


@pytest.mark.parametrize(("asked", "told"), BAD, ids=[asked for asked, _ in BAD])
def test_what_is_no_combination_is_one_line(run, laws, asked, told):  # noqa: F811
    assert told in one_line(run("generate", "x", *PAIR, "--max-tokens", "4", "--combine", asked))


@pytest.mark.parametrize("function", [os.getcwd, lambda logits: logits[0], lambda a, b, c: a])
def test_the_library_refuses_it_when_it_is_given(function):
    with pytest.raises(ConfigurationError, match="must be a function of the members' logits and a warp"):
        combine.custom(function)


def test_the_library_leaves_a_functions_own_error_as_it_is():
    """Whoever wrote the function wants its traceback."""
    laws: dict[str, Any] = {}
    ensemble = Ensemble.load(["zoo:code-s"], combine=lambda logits, warp: laws["law"])
    with pytest.raises(KeyError, match="law"):
        ensemble.generate("x", SamplingParams(max_tokens=2))


def test_a_module_may_hold_a_combination(laws):
    assert parse("laws:made", 2) == combine.weighted([0.2, 0.8])


OUTPUTS = [
    ("fit-tree", "--skills", "2", "--output"),
    ("bench", *PAIR, "--output"),
    ("bench", *PAIR, "--markdown"),
    ("bench", *PAIR, "--profile", "--output"),
    ("bench", "predict", *PAIR, "--output"),
    ("eval", "skills", *PAIR, "--output"),
    ("eval", "skills", *PAIR, "--plot"),
]


@pytest.mark.parametrize("arguments", OUTPUTS, ids=" ".join)
@pytest.mark.parametrize("place", ["nowhere/result", "folder", "file/result"])
def test_an_output_is_checked_before_anything_is_loaded(run, tmp_path, monkeypatch, arguments, place):  # noqa: F811
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unisono.loading.load_members", None)
    monkeypatch.setattr("unisono.ensemble.load_members", None)
    assert f"cannot be written: {place}" in one_line(run(*arguments, place))


def test_a_folder_for_plots_is_checked_too(run, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "file").touch()
    monkeypatch.setattr("unisono.ensemble.load_members", None)
    assert "cannot be written" in one_line(run("bench", *PAIR, "--plots", str(tmp_path / "file" / "plots")))


def test_an_interruption_is_one_line(run, monkeypatch):  # noqa: F811
    """While a model is loaded, or a text decoded; the handler of whoever called is put back."""
    before = signal.getsignal(signal.SIGINT)
    for place in ("unisono.ensemble.load_members", "unisono.decoding.engine.Engine.step"):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_, **__: signal.raise_signal(signal.SIGINT))
            found = run("generate", "x", *PAIR)
        assert (found.code, found.err) == (130, "unisono: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_import_ends_the_process(tmp_path, monkeypatch, capsys):
    """An import that is broken off may raise anything, as numpy does: so nothing is raised into it."""
    (tmp_path / "interrupted.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    ended: list[int] = []
    monkeypatch.setattr("unisono.cli.os._exit", ended.append)
    before = signal.signal(signal.SIGINT, cli._interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):  # it goes on only since it did not end here
            importlib.import_module("interrupted")
    finally:
        signal.signal(signal.SIGINT, before)
    assert set(ended) == {130}
    assert capsys.readouterr().err.startswith("unisono: interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["generate", "x", "--max-tokens", "400"], ["serve", "--port", "0"]])
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.5, 1.0, 2.0, 4.0])
def test_ctrl_c_at_any_time(command, delay):
    """In a process of its own: while it imports, loads or decodes."""
    program = "from unisono.cli import main; print('ready', flush=True); main()"
    call = [sys.executable, "-c", program, *command]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        time.sleep(delay + 0.05)
        started.send_signal(signal.SIGINT)
        _, told = started.communicate(timeout=60)
    if "serving" not in told:  # a server that is up ends as it should, with 0
        assert (started.returncode, told) == (130, "unisono: interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize("take", [0, 1])
def test_a_reader_that_leaves_is_nobodys_mistake(take):
    """`unisono generate | head`: no traceback, no line."""
    call = [sys.executable, "-m", "unisono", "generate", "x\n" * 20, "--ignore-eos", "--max-tokens", "300"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.read(take)
        started.stdout.close()
        assert started.stderr is not None
        assert started.stderr.read() == b""
    assert started.returncode == 1
