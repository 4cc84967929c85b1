"""How many threads compute, and how they wait: from quota and affinity, unless the user says so."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import run  # noqa: F401 - a fixture
from tests.server.live import live, sources
from tests.tiny import ensemble, models
from unisono import ConfigurationError
from unisono.cli import cores
from unisono.config import Config, from_mapping
from unisono.server.catalog import Catalog

V2, V1 = "0::/a/b\n", "11:memory:/x\n4:cpuacct,cpu:/a/b\n1:name=systemd:/c\n"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def system(folder: Path, groups: str, files: dict[str, str]) -> Path:
    """A root with the control groups of this process and their files."""
    for name, text in {
        "proc/self/cgroup": groups,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


QUOTAS = [
    ("no group", "", {}, None),
    ("no limit", V2, {"a/b/cpu.max": "max 100000\n"}, None),
    ("two and a half cores", V2, {"a/b/cpu.max": "250000 100000\n"}, "2"),
    ("less than a core", V2, {"a/b/cpu.max": "50000 100000\n"}, "1"),
    ("a limit above", V2, {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, "3"),
    ("the tightest limit", V2, {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, "2"),
    ("more than there is", V2, {"a/b/cpu.max": "900000 100000\n"}, None),
    ("the root of a container", "0::/\n", {"cpu.max": "100000 100000\n"}, "1"),
    ("version 1", V1, {"cpu/a/b/cpu.cfs_quota_us": "200000\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, "2"),
    ("version 1 without a limit", V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
]


@pytest.mark.parametrize(("groups", "files", "count"), [each[1:] for each in QUOTAS], ids=[each[0] for each in QUOTAS])
def test_the_quota_limits_the_threads(tmp_path, monkeypatch, groups, files, count):
    """Where it is below the affinity, which OpenMP sees by itself."""
    monkeypatch.setattr(cores, "_affinity", lambda: 8)
    environment: dict[str, str] = {}
    cores.settle(environment, system(tmp_path, groups, files))
    assert environment.pop("OMP_NUM_THREADS", None) == count
    assert environment == {"GOMP_SPINCOUNT": str(cores.SPINS), "KMP_BLOCKTIME": "1"}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_the_user_stands(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cores, "_affinity", lambda: 8)
    environment = {name: "5"}
    cores.settle(environment, system(tmp_path, V2, {"a/b/cpu.max": "100000 100000\n"}))
    assert {key: value for key, value in environment.items() if "NUM" in key} == {name: "5"}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_a_way_to_wait_of_the_user_stands(tmp_path, name):
    environment = {name: "mine"}
    cores.settle(environment, tmp_path)
    assert environment == {name: "mine"}


def test_it_is_said_before_torch_is_imported():
    """OpenMP reads it once, when it is loaded."""
    program = (
        "import os, sys; import unisono.cli.cores as cores; said = cores.settle\n"
        "cores.settle = lambda: (print('torch' in sys.modules), said())\n"
        "import unisono.cli; sys.argv = ['unisono', '--version']\n"
        "try: unisono.cli.main()\n"
        "except SystemExit: print(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {key: value for key, value in os.environ.items() if key not in cores.WAITING}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["False", "unisono", "0.1.0", str(cores.SPINS)]


def test_the_library_takes_threads():
    ensemble(models("llama"), threads=3)
    assert torch.get_num_threads() == 3
    ensemble(models("llama"))
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("value", [0, -1, 1.5, "two", True])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(ConfigurationError, match="threads must be an integer, 1 or more"):
        ensemble(models("llama"), threads=value)
    with pytest.raises(ConfigurationError, match="threads must be an integer, 1 or more"):
        from_mapping({"members": ["zoo:code-s"], "threads": value})


def test_the_command_line_takes_threads(run, tmp_path):  # noqa: F811
    """As an option, and in a config, over which the option goes."""
    config = tmp_path / "config.yaml"
    config.write_text("members: [zoo:code-s]\nthreads: 3\n")
    for options, count in (((), 3), (("--threads", "2"), 2)):
        assert run("generate", "x", "--config", str(config), "--max-tokens", "2", *options).code == 0
        assert torch.get_num_threads() == count
    assert run("generate", "x", "--threads", "0").code == 2


def test_the_server_takes_threads():
    with live(Catalog({"pair": Config(sources(), threads=3)})):
        assert torch.get_num_threads() == 3
