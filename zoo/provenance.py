"""Where a number comes from: commit, versions, hardware. No path and no host name."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def commit() -> str:
    """The commit of the working tree, or why there is none."""
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown (before the first commit)"


def processor() -> str:
    """The processor's model name as Linux reports it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or "unknown"


def provenance() -> dict[str, str]:
    """What every published number carries."""
    return {
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
        "hardware": f"{processor()}, {os.cpu_count()} cores",
    }
