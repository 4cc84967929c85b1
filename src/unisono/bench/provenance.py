"""The provenance of a result: how, when and where it was measured. Every result file contains the provenance."""

import datetime
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from unisono import __version__

PACKAGES = ("torch", "transformers", "numpy")


def provenance() -> dict[str, Any]:
    """Return the command, commit, time, versions and hardware of this process."""
    return {
        "command": " ".join(["python", *_program(), *sys.argv[1:]]),
        "commit": _commit(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {"unisono": __version__, **{name: metadata.version(name) for name in PACKAGES}},
        "cpu": _cpu(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _program() -> list[str]:
    """Return `-m` and the name of the main module, or the file name of the main script with its parent folder."""
    main = sys.modules["__main__"].__spec__
    return ["-m", main.name] if main else ["/".join(Path(sys.argv[0]).parts[-2:])]


def _commit() -> str | None:
    """Return the commit of the checkout that contains this file, or None if there is no checkout.

    The commit ends with `+` if the checkout has uncommitted changes.
    """
    try:
        return _git("rev-parse", "HEAD") + "+" * bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    options: dict[str, Any] = {"cwd": Path(__file__).parent, "check": True, "capture_output": True, "text": True}
    return str(subprocess.run(["git", *arguments], **options).stdout).strip()


def _cpu() -> str:
    """Return the model name of the processor and its sets of vector and matrix instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(values.get("flags", "").split()) & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}
    return " ".join([values.get("model name", platform.machine()), *sorted(flags)])
