"""Rules about what may be written where, checked by reading the files."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "unisono"
PERSONAL_PATH = re.compile(r"(?<![\w.~<>$}])/(?:home|root|work|Users|mnt)/[\w.-]")


def repository_files() -> list[Path]:
    """Files that are tracked, or would be at the next commit."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data[:8192] else data.decode("utf-8", errors="replace")


def test_no_path_of_a_particular_machine():
    """A path below somebody's home folder works on one machine only, and says whose."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in repository_files()
        if (match := PERSONAL_PATH.search(text_of(path)))
    ]
    assert found == []


def test_personal_paths_are_recognised():
    home = "/" + "home/somebody"
    assert PERSONAL_PATH.search(f"in {home}/model")
    assert not PERSONAL_PATH.search("a/home/b and ~/work/x")


def called_names(path: Path) -> set[str]:
    """Names of everything that a file calls: `f(...)`, `module.f(...)`, `tensor.f(...)`."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return {
        func.attr if isinstance(func, ast.Attribute) else func.id
        for func in calls
        if isinstance(func, ast.Attribute | ast.Name)
    }


def test_logits_become_laws_in_one_place():
    """Only `sampling/warp.py` with its kernels, and `combine/`, turn logits into probabilities or truncate them.

    A second place would drift.
    """
    kernels = [SOURCE / "sampling" / f"{name}.py" for name in ("warp", "nucleus", "ranking")]
    allowed = [*kernels, *(SOURCE / "combine").rglob("*.py")]
    elsewhere = {
        str(path.relative_to(SOURCE)): names
        for path in SOURCE.rglob("*.py")
        if path not in allowed and (names := called_names(path) & {"softmax", "topk"})
    }
    assert elsewhere == {}
