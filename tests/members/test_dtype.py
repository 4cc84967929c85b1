"""The dtype of a member that names none: what scores fastest here."""

from typing import Any

import pytest
import torch

from tests import tiny
from unisono.members.hf import dtype
from unisono.members.hf.dtype import fast_dtype


def config(architecture: str = "llama", own: torch.dtype = torch.bfloat16) -> Any:
    found = tiny.CONFIGS[architecture]()
    found.dtype = own
    return found


@pytest.fixture(autouse=True)
def _measure_anew() -> None:
    dtype._costs.cache_clear()


@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_other_checkpoints_keep_their_type(own: torch.dtype):
    choice = fast_dtype(config(own=own), "cpu")
    assert (choice.dtype, choice.measured) == (own, "")


@pytest.mark.parametrize("own", [torch.float16, torch.bfloat16])
def test_half_precision_stays_on_other_devices(own: torch.dtype):
    assert fast_dtype(config(own=own), "cuda:0").dtype == own


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_every_architecture_is_measured(architecture: str, compiled: bool):
    """Whatever wins, it is one of two, and the ratio that decided is told."""
    choice = fast_dtype(config(architecture), "cpu", compiled)
    assert choice.dtype in (torch.bfloat16, torch.float32)
    ratio = float(choice.measured.rsplit(" ", 1)[1])
    assert (ratio >= 1 / dtype.MARGIN) == (choice.dtype == torch.bfloat16) or ratio == pytest.approx(0.91, abs=0.01)


@pytest.mark.parametrize(("half", "single", "wanted"), [(1.0, 2.0, torch.bfloat16), (2.0, 1.0, torch.float32)])
def test_the_faster_one_wins(monkeypatch: pytest.MonkeyPatch, half: float, single: float, wanted: torch.dtype):
    monkeypatch.setattr(dtype, "_costs", lambda *_: (half, single))
    assert fast_dtype(config(), "cpu").dtype == wanted


def test_models_of_equal_shape_get_equal_types():
    """Noise must not make two copies of one model differ."""
    first, second = config(), config()
    second._name_or_path = "elsewhere"
    assert fast_dtype(first, "cpu") == fast_dtype(second, "cpu")
    assert dtype._costs.cache_info().misses == 1


def test_code_from_outside_is_measured_by_a_matrix():
    """A model that transformers does not know by name cannot be built for timing."""
    found = config()
    found.model_type = "of-my-own"
    assert "float32 / bfloat16" in fast_dtype(found, "cpu").measured
