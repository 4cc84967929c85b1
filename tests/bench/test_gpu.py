"""The GPU benchmark at small shapes on the CPU: every figure is measured, and none is nonsense."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import gpu  # noqa: E402


def test_all_figures_are_measured(monkeypatch: pytest.MonkeyPatch):
    """Equality, bandwidth, more tokens, and every schedule at every number of rows."""
    monkeypatch.setattr(gpu, "ROWS", (1, 3))
    figures = gpu.Bench("cpu", "off", tokens=4, repeats=1, copied=2**12).run(["tiny"])
    assert figures.pop("largest difference to the CPU, float32 log-probability") < 1e-4
    assert len(figures) == 1 + 2 + 2 * len(gpu.SCHEDULES)
    assert all(value > 0 for value in figures.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do():
    outcome = subprocess.run([sys.executable, str(BENCHMARKS / "gpu.py")], capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    assert "--device cpu --shapes tiny" in outcome.stderr.splitlines()[-1]
