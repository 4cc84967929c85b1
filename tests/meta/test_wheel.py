"""The source package, and the wheel built from it: installed somewhere else, they find their weights without a network."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed; the failure shows what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV", "PYTHONPATH"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source package, and the wheel that is built from it.

    From a copy, so that no `build` folder of an earlier build gets into it.
    """
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist", cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("unisono-*.whl")
    return found


@pytest.fixture(scope="module", params=["unisono-*.whl", "unisono-*.tar.gz"], ids=["wheel", "source"])
def installed(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one of the two is installed."""
    (package,) = built.glob(request.param)
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    run(*pip, "--no-build-isolation", "--target", target, package, cwd=target)
    return target


def offline(installed: Path, cwd: Path, *arguments: str) -> str:
    """Run Python on the installed copy, which hides the editable one, with no hub and an empty home."""
    environment = {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1", "HOME": str(cwd), "HF_HOME": str(cwd / "hub")}
    return run(sys.executable, *arguments, cwd=cwd, **environment)


def test_contents(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"unisono", next(top for top in tops if top.endswith(".dist-info"))}
    assert "unisono/py.typed" in names
    assert any(name.startswith("unisono/zoo/weights/") and name.endswith(".safetensors") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "/runs/" in name or "/tests/" in name or "__pycache__" in name]


def test_size(wheel: Path):
    assert wheel.stat().st_size < 40 * MEGABYTE


def test_every_data_file_is_packed(wheel: Path):
    """The weights, cards and templates in the source tree are the ones in the wheel."""
    weights = ROOT / "src" / "unisono" / "zoo" / "weights"
    here = {str(path.relative_to(ROOT / "src")) for path in weights.rglob("*") if path.is_file()}
    assert here
    assert here <= {name.replace("/", os.sep) for name in zipfile.ZipFile(wheel).namelist()}


def test_import_is_the_installed_copy(installed: Path, tmp_path: Path):
    assert offline(installed, tmp_path, "-c", "import unisono; print(unisono.__file__)").startswith(str(installed))


def test_generates_offline_elsewhere(installed: Path, tmp_path: Path):
    """No model named: the bundled ones, from any folder."""
    arguments = ["generate", "def read_lines(path):", "--max-tokens", "8", "--temperature", "0", "--json"]
    answer = json.loads(offline(installed, tmp_path, "-m", "unisono.cli", *arguments))
    assert answer["text"]
