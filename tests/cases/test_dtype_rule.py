"""The number type of a member that names none, and compiled forwards: no stopwatch and no cache folder changes a text."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaConfig

from tests import tiny
from tests.hf import hf
from unisono import Ensemble, SamplingParams
from unisono.members.hf import artifact, dtype, member
from unisono.members.hf.dtype import default_dtype, multiplies_bfloat16


def config(own: torch.dtype = torch.bfloat16) -> Any:
    found = tiny.CONFIGS["llama"]()
    found.dtype = own
    return found


def processor(monkeypatch: pytest.MonkeyPatch, flags: str, avx: bool = False, amx: bool = False) -> None:
    monkeypatch.setattr(dtype, "machine", lambda: ("any", flags))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_other_checkpoints_keep_their_type(own: torch.dtype):
    assert default_dtype(config(own), "cpu") == own


@pytest.mark.parametrize("own", [torch.float16, torch.bfloat16])
def test_half_precision_stays_on_other_devices(own: torch.dtype):
    assert default_dtype(config(own), "cuda:0") == own


@pytest.mark.parametrize("own", [torch.float16, torch.bfloat16])
def test_a_type_that_only_the_part_for_text_names_is_taken(own: torch.dtype):
    """As in the files of Qwen3-VL."""
    wrapped = LlavaConfig(text_config=config(own))
    assert wrapped.dtype is None
    assert default_dtype(wrapped, "cuda:0") == own


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("flags : fpu avx512f avx512_bf16 sse", True),
        ("flags : fpu amx_bf16 amx_tile", True),
        ("Features : fp asimd bf16 i8mm", True),
        ("flags : fpu avx2 avx512f avx512_fp16", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("own", [torch.float16, torch.bfloat16])
def test_the_processor_decides_for_half_precision(
    monkeypatch: pytest.MonkeyPatch, flags: str, fast: bool, own: torch.dtype
):
    processor(monkeypatch, flags)
    assert default_dtype(config(own), "cpu") == (torch.bfloat16 if fast else torch.float32)


@pytest.mark.parametrize(("avx", "amx"), [(True, False), (False, True), (False, False)])
def test_torch_is_asked_where_no_file_tells(monkeypatch: pytest.MonkeyPatch, avx: bool, amx: bool):
    processor(monkeypatch, "", avx, amx)
    assert multiplies_bfloat16() == (avx or amx)


def test_what_lies_in_the_cache_folder_changes_no_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A file that an earlier run compiled made `auto` time other products, and so choose another type."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tiny.build("llama").to(torch.bfloat16).save_pretrained(tmp_path / "model")
    listed = {"model": str(tmp_path / "model"), "tokenizer": tiny.tokenizer()}
    found = [hf(Ensemble.load([listed])).model.dtype]
    artifact.folder().mkdir(parents=True)
    (artifact.folder() / "other.pt2").touch()
    found.append(hf(Ensemble.load([listed])).model.dtype)
    assert found == [torch.bfloat16 if multiplies_bfloat16() else torch.float32] * 2


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, "auto"),
        ({"deterministic": True}, "off"),
        ({"deterministic": True, "compile": "on"}, "on"),
        ({"deterministic": True, "compile": "off"}, "off"),
    ],
)
def test_deterministic_uses_nothing_that_an_earlier_run_left(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], wanted: str
):
    asked: list[str] = []
    monkeypatch.setattr(member.HFMember, "compile", lambda self, mode: asked.append(mode))
    tiny.ensemble(tiny.models("llama")[:1], **options)
    assert asked == [wanted]


def test_a_result_says_which_members_run_compiled(monkeypatch: pytest.MonkeyPatch):
    ensemble = tiny.ensemble(tiny.models("llama"))
    monkeypatch.setattr(hf(ensemble, 1), "_step", object())
    row = ensemble.start([5, 17, 33], SamplingParams(max_tokens=2))[0].row
    assert [each.compiled for each in row.stats.members] == [False, True]
    assert [each["compiled"] for each in row.stats.as_dict()["members"]] == [False, True]
