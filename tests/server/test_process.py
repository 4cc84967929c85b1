"""`unisono serve` as a process: signals, exit codes, and mistakes that are found before anything is loaded."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

import unisono.server
from tests.members.toy_backend import toys
from unisono import cli
from unisono.config import Config
from unisono.errors import ConfigurationError
from unisono.members import backends
from unisono.members.backends import as_source
from unisono.server import run
from unisono.server.catalog import Catalog, single
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.settings import Settings


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "unisono", "serve", *arguments]


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[tuple[Any, str]]:
    """A server that is up, and its address."""
    kept = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    running: Any = subprocess.Popen(
        command("--port", "0", *arguments), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=kept
    )
    with running:
        try:
            lines = []
            for line in running.stderr:
                lines.append(line)
                if "startup complete" in line:
                    break
            found = re.search(r"http://\S+", "".join(lines))
            assert found, lines
            threading.Thread(target=lambda: lines.extend(running.stderr), daemon=True).start()
            running.said = lambda: "".join(lines)
            yield running, found[0]
        finally:
            running.kill()


def test_term_under_load_ends_streams_cleanly():
    """Sixteen streams on four slots: those that fit in the grace time finish, the others end with an error; exit 0."""
    ends: list[list[str]] = []

    def read(url: str, seed: int) -> None:
        body = {"model": "zoo", "prompt": "import os", "max_tokens": 40 if seed % 4 else 900, "seed": seed,
                "stream": True, "ignore_eos": True}  # fmt: skip
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
            ends.append([line for line in answer.iter_lines() if line][-2:])

    with process("--max-num-seqs", "4", "--grace", "2") as (running, url):
        threads = [threading.Thread(target=read, args=(url, seed)) for seed in range(16)]
        for thread in threads:
            thread.start()
        while 'running{model_name="zoo"} 4.0' not in httpx.get(f"{url}/metrics").text:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
        for thread in threads:
            thread.join(timeout=10)
    assert len(ends) == 16
    for *before, done in ends:
        if not before:  # it had no first token yet, so the status could still say it
            assert json.loads(done)["error"]["code"] == "shutting_down"
            continue
        (last,) = before
        assert done == "data: [DONE]"
        chunk = json.loads(last.removeprefix("data: "))
        assert chunk["error"]["code"] == "shutting_down" if "error" in chunk else chunk["choices"][0]["finish_reason"]


STUCK = """
import torch
from pathlib import Path

def law(logits, warp):
    Path(__file__).with_suffix(".entered").touch()
    while True:
        torch.ones(99).add(1)
"""


def test_a_step_that_does_not_end_keeps_nobody(tmp_path):
    """A compilation, say: in its middle the client still gets its answer, and the process ends with 0."""
    (tmp_path / "stuck.py").write_text(STUCK)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    answers = []

    def ask(url: str) -> None:
        body = {"model": "zoo", "prompt": "import os", "stream": True}
        answers.append(httpx.post(f"{url}/v1/completions", json=body, timeout=300))

    with process("--combine", "stuck:law", "--grace", "2", PYTHONPATH=path) as (running, url):
        client = threading.Thread(target=ask, args=(url,))
        client.start()
        while not (tmp_path / "stuck.entered").exists():
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
        client.join()
    assert answers[0].json()["error"]["code"] == "shutting_down"


def test_nobody_who_does_not_read_or_write_is_waited_for():
    """Half a body, and a stream that nobody reads."""
    with process("--grace", "2") as (running, url):
        host, port = url.removeprefix("http://").split(":")
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        body = json.dumps(
            {"model": "zoo", "prompt": "import os", "stream": True, "n": 64, "logprobs": 20, "ignore_eos": True}
        )
        with socket.create_connection((host, int(port))) as half, socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            deaf.connect((host, int(port)))
            half.sendall(f"{head}100\r\n\r\n{{".encode())
            deaf.sendall(f"{head}{len(body)}\r\n\r\n{body}".encode())
            assert deaf.recv(1)
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=60) == 0
            assert b" 503 " in half.recv(4000)
        assert "Traceback" not in running.said()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once_and_quietly(second):
    """Until then it says that it takes no new work."""
    with process("--max-num-seqs", "1", "--grace", "600", "--timeout", "600") as (running, url):
        body = {"model": "zoo", "prompt": "import os", "max_tokens": 900, "n": 60, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=300) as answer:
            parts = answer.iter_bytes()  # kept: a closed iterator would end the stream, and with it the server
            next(parts)
            running.send_signal(signal.SIGTERM)
            while httpx.get(f"{url}/ready").status_code != 503:
                time.sleep(0.01)
            assert httpx.post(f"{url}/v1/completions", json=body).status_code == 503
            running.send_signal(second)
            assert running.wait(timeout=60) == -second
        assert "Traceback" not in running.said()


def test_one_config_serves_several_models(tmp_path):
    config = tmp_path / "serve.yaml"
    config.write_text(
        "models:\n"
        "  pair: {members: [zoo:code-m, zoo:code-n], combine: 'weighted:0.7,0.3', sampling: {max_tokens: 3}}\n"
        "  contrast: {members: [zoo:code-m, zoo:code-s], combine: 'contrastive:0.1'}\n"
        "members_alone: true\n"
    )
    with process("--config", str(config), UNISONO_API_KEY="secret") as (running, url):
        headers = {"Authorization": "Bearer secret"}
        listed = httpx.get(f"{url}/v1/models", headers=headers).json()["data"]
        assert [model["id"] for model in listed] == ["pair", "contrast", "code-m", "code-n", "code-s"]
        assert httpx.get(f"{url}/v1/models").status_code == 401
        body = {"model": "pair", "prompt": "x ="}
        answer = httpx.post(f"{url}/v1/completions", json=body, headers=headers, timeout=60).json()
        assert answer["usage"]["completion_tokens"] == 3
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 0


MISTAKES = [
    ("models: {a: {members: [zoo:code-x]}}", "code-s"),
    ("models: {a: {members: [zoo:code-m], combine: 'weighted:1,2'}}", "2 weights for 1 members"),
    ("models: {a: {members: [zoo:code-m], schedule: fast}}", "unknown schedule"),
    ("models: {a: {members: []}}", "no members"),
    ("models: {}", "at least one model"),
    ("models: [a]", "mapping"),
    ("models: {a: {member: [zoo:code-m]}}", "did you mean 'members'"),
    ("model: {}", "did you mean 'models'"),
    ("models: {a: {members: [zoo:code-m]}}\nmembers_alone: maybe", "true or false"),
    ("models: {code-m: {members: [zoo:code-m, zoo:code-n]}}\nmembers_alone: true", "another model has its name"),
    ("models: {a: {members: [zoo:code-m], sampling: {temperature: -1}}}", "temperature"),
]


def test_a_port_in_use_is_said_before_anything_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="cannot listen"):
            run.listen(Settings(port=taken.getsockname()[1]))


def test_mistakes_are_one_line_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    """In this process, with loading made impossible: each is found without a model."""
    monkeypatch.setattr(Models, "load", lambda *_: pytest.fail("something was loaded"))
    config = tmp_path / "serve.yaml"
    cases: list[tuple[Any, str, str]] = [(("--config", str(config)), text, word) for text, word in MISTAKES]
    cases += [
        (("--port", "99999"), "", "port"), (("--allow", "weight"), "", "did you mean 'weights'"),
        (("--api-key", ""), "", "API key"), (("--max-num-seqs", "0"), "", "rows"), (("-m", "zoo:code-x"), "", "code-s"),
        (("--combine", "weighted:1,2,3"), "", "3 weights"), (("--chat-template", "none.jinja"), "", "none.jinja"),
        (("--config", str(config), "-m", "zoo:code-m"), "members: [zoo:code-m]", "not both"),
        (("--config", str(config), "--combine", "only:0"), "models: {a: {members: [zoo:code-m]}, b: {members: [zoo:code-n]}}",
         "leave out --combine"),
        (("--config", str(config), "--served-model-name", "x"), "models: {a: {members: [zoo:code-m]}}", "names its models"),
    ]  # fmt: skip
    for arguments, text, word in cases:
        config.write_text(text)
        monkeypatch.setattr(sys, "argv", ["unisono", "serve", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr().err
        assert stopped.value.code == 2, (arguments, said)
        assert word in said, (arguments, text)
        assert said.count("\n") == 1


def test_a_public_address_without_key_warns(monkeypatch):
    class LoadedError(Exception):
        pass

    def load(*_):
        raise LoadedError

    monkeypatch.setattr(Models, "load", load)
    catalog = single(Config(members=(as_source("zoo:code-m"),)))
    with pytest.warns(UserWarning, match="no API key"), pytest.raises(LoadedError):
        run.serve(catalog, Settings(host="0.0.0.0", port=0))
    with pytest.raises(LoadedError):
        run.serve(catalog, Settings(host="0.0.0.0", port=0, keys=("k",)))


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "unisono.server.run")
    monkeypatch.delattr(unisono.server, "run")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setattr(sys, "argv", ["unisono", "serve"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "unisono serve needs uvicorn: pip install 'unisono[server]'" in said
    assert said.count("\n") == 1


def test_models_of_one_server_share_weights():
    catalog = Catalog({name: Config(members=(as_source("zoo:code-s"),)) for name in ("one", "two")})
    models = Models.load(catalog, Settings(), Metrics())
    members = [model.ensemble.members[0] for model in models.by_name.values()]
    assert members[0].model is members[1].model
    assert members[0] is not members[1]


def test_a_model_of_any_backend_is_served(monkeypatch):
    """Weights are loaded once for the model and the pair that guides it; the pair keeps the member's options."""
    monkeypatch.setattr(backends, "_registered", [])
    toy = toys()
    catalog = single(Config(members=(as_source({"model": "toy:3", "seed": 1}),), draft=as_source("toy:3")))
    assert list(catalog.models) == ["toy:3"]
    (model,) = Models.load(catalog, Settings(), Metrics()).by_name.values()
    assert model.guided is not None
    assert model.ensemble.names == ["toy:3#1", "toy:3#2"]
    assert model.guided.ensemble.names == ["toy:3", "toy:3 unguided"]
    assert model.guided.ensemble.method().combination.name == "guidance:1.5"
    assert toy.loads == 2
