"""Compiled forwards in bfloat16: rounding raises no false alarm, and no mistake hides behind it.

`deep` is a random model of many layers whose plain bfloat16 forward is as far from float32 as that of real models. Real
models are tried too where the environment variable UNISONO_MODELS names a folder of folders of models.
"""

import copy
import functools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests import tiny
from tests.members import unusual
from unisono.errors import MemberError
from unisono.members.hf.mask import Masks
from unisono.members.hf.member import HFMember
from unisono.members.hf.probe import _texts, fault, rounding
from unisono.members.hf.readings import Shape, at_once, in_pieces, offsets, shapes
from unisono.members.hf.reference import exact_logits, plain_logits
from unisono.members.hf.step import Step, Traced

REAL = sorted(path.parent for path in Path(os.environ.get("UNISONO_MODELS") or "/none").glob("*/config.json"))
MODELS = [pytest.param(None, id="deep"), *(pytest.param(path, id=path.name, marks=pytest.mark.slow) for path in REAL)]
Reading = tuple[Tensor, Tensor, Tensor, list[Shape]]
OTHER = "they give other scores than the model"


@functools.lru_cache(maxsize=1)
def member_of(path: Path | None) -> HFMember:
    if path is not None:
        return HFMember(AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16), path.name)
    model = tiny.build("llama", num_hidden_layers=24)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layernorm" in name:  # large activations
                parameter.mul_(3)
    return HFMember(model.to(torch.bfloat16), "deep")


class Shifted(Masks):
    """Masks that are off by one: a token attends to the position behind it, or not to itself."""

    by = 1

    def __call__(self, positions: Tensor, seen: Tensor) -> Tensor | dict[str, Tensor]:
        return super().__call__((positions + self.by).clamp(min=0), seen)


class Behind(Shifted):
    by = -1


class Changed(Step):
    """A step whose model gets other arguments."""

    def forward(self, ids: Tensor, starts: Tensor, *rest: Any) -> Tensor:
        own = self.model.forward
        self.model.forward = lambda **given: own(**self.change(given, starts.unsqueeze(1)))
        try:
            return super().forward(ids, starts, *rest)
        finally:
            del self.model.forward

    def change(self, given: dict[str, Any], starts: Tensor) -> dict[str, Any]:
        raise NotImplementedError


class Restarted(Changed):
    """Positions begin at 0 in each forward."""

    def change(self, given: dict[str, Any], starts: Tensor) -> dict[str, Any]:
        return given | {"position_ids": given["position_ids"] - starts}


class Late(Changed):
    """Positions are too large by one behind the first forward of a row."""

    def change(self, given: dict[str, Any], starts: Tensor) -> dict[str, Any]:
        return given | {"position_ids": given["position_ids"] + (starts > 0).long()}


class Skipping(Step):
    """Runs all layers but the middle one."""

    def forward(self, *given: Any) -> Tensor:
        layer = self.model.model.layers[len(self.model.model.layers) // 2]
        layer.forward = lambda hidden, *_, **__: hidden
        try:
            return super().forward(*given)
        finally:
            del layer.forward


def step_of(member: HFMember, kind: type[Step] = Step, masks: type[Masks] | None = None) -> Step:
    own = Masks.of(member.model)
    assert own is not None
    return kind(member.model, masks(**vars(own)) if masks else own, member.context_length)


MISTAKES: dict[str, Callable[[HFMember], Step]] = {
    "a mask that sees the next token": lambda member: step_of(member, masks=Shifted),
    "a mask that hides the token": lambda member: step_of(member, masks=Behind),
    "positions that restart": lambda member: step_of(member, Restarted),
    "positions off by one": lambda member: step_of(member, Late),
    "a layer skipped": lambda member: step_of(member, Skipping),
}


def readings(member: HFMember) -> Reading:
    rows = _texts(member)
    plain, exact = (at_once(member.model, rows, member.vocabulary, each) for each in (plain_logits, exact_logits))
    return in_pieces(member, rows), plain, exact, shapes(rows)


@pytest.mark.parametrize("path", MODELS)
def test_rounding_raises_no_false_alarm(path: Path | None):
    """Attention as it is compiled rounds otherwise than the model's own, by more than .1, and is accepted."""
    member = member_of(path)
    found, plain, exact, sizes = readings(trial := member.trial(Traced(step_of(member))))
    assert float(offsets(found, plain).max()) > 0.1 or path is not None
    assert rounding(found, plain, exact, sizes).excess < 0.95
    assert not fault(trial)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("path", MODELS)
def test_a_mistake_is_found_among_rounding(path: Path | None, mistake: str):
    """It is beyond the limit in the forwards of some size, and the message says how far."""
    member = member_of(path)
    trial = member.trial(Traced(MISTAKES[mistake](member)))
    distance = rounding(*readings(trial))
    assert distance.excess > (1 if path else 1.5)
    assert fault(trial) == f"{OTHER} (by {distance.found:.3g} {distance.unit}, and {distance.limit:.3g} is the limit)"


class Sometimes(Traced):
    """A step whose forwards of some sizes are wrong, as if a compiler or a recording failed for these sizes."""

    def __init__(self, step: Step, when: Callable[[int, int], bool], kind: str) -> None:
        super().__init__(step)
        self.when, self.kind = when, kind

    def __call__(self, ids: Tensor, starts: Tensor, *rest: Any) -> Tensor:
        if not self.when(*ids.shape):
            return super().__call__(ids, starts, *rest)
        if self.kind == "ids":
            ids = ids * 0
        if self.kind == "starts":
            starts = (starts - 1).clamp(min=0)
        logits = super().__call__(ids, starts, *rest)
        if self.kind == "tail":
            logits[..., -logits.shape[-1] * 45 // 100 :] = 0
        generator = torch.Generator().manual_seed(logits.shape[1])
        return torch.randn(logits.shape, generator=generator) if self.kind == "noise" else logits


SIZES: dict[str, Callable[[int, int], bool]] = {
    "one row of one token": lambda rows, width: (rows, width) == (1, 1),
    "one row of two tokens": lambda rows, width: (rows, width) == (1, 2),
    "two rows of one token": lambda rows, width: (rows, width) == (2, 1),
    "two rows": lambda rows, width: rows == 2,
    "two tokens": lambda rows, width: width == 2,
    "up to three tokens": lambda rows, width: width <= 3,
    "three tokens": lambda rows, width: width == 3,
    "four tokens": lambda rows, width: width == 4,
    "five tokens": lambda rows, width: width == 5,
    "long forwards": lambda rows, width: width > 8,
    "many rows": lambda rows, width: rows > 2,
}


@functools.lru_cache(maxsize=1)
def shallow() -> HFMember:
    return HFMember(tiny.build("llama").to(torch.bfloat16), "shallow")


@pytest.mark.parametrize("kind", ["noise", "ids", "starts", "tail"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("made", [shallow, functools.partial(member_of, None)], ids=["shallow", "deep"])
def test_a_mistake_at_one_size_is_found(made: Callable[[], HFMember], size: str, kind: str):
    """Few readings are wrong, and all others are right: the mean of all readings would hide this."""
    member = made()
    assert fault(member.trial(Sometimes(step_of(member), SIZES[size], kind))).startswith(OTHER)


class Noisy(HFMember):
    """A member whose own forwards of one token are noise."""

    def _plain(self, work: Any, width: int, columns: int, features: bool) -> tuple[Tensor, Tensor | None]:
        logits, states = super()._plain(work, width, columns, features)
        return (torch.randn_like(logits) if width == len(work) == 1 else logits), states


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_member_whose_single_tokens_are_noise_is_refused(dtype: torch.dtype):
    with pytest.raises(MemberError, match="noisy cannot be rewound"):
        Noisy(tiny.build("llama").to(dtype), "noisy")


class Parity(Traced):
    """A step whose logits of odd token ids are wrong."""

    def __call__(self, *given: Any) -> Tensor:
        logits = super().__call__(*given)
        logits[..., 1::2] = 0
        return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_columns_are_read(dtype: torch.dtype):
    """Of a large vocabulary each reading compares a part; another part in the next reading."""
    member = HFMember(tiny.build("llama", vocab_size=8192).to(dtype), "large")
    assert not fault(member.trial(Traced(step_of(member))))
    assert fault(member.trial(Parity(step_of(member)))).startswith(OTHER)


@pytest.mark.parametrize("experts", [4, 16])
@pytest.mark.parametrize("seed", range(10))
def test_another_expert_raises_no_false_alarm(experts: int, seed: int):
    """In bfloat16, a token near the border between two experts may use the other one: its logits are far off."""
    member = HFMember(tiny.build("mixtral", seed, num_local_experts=experts).to(torch.bfloat16), "mixtral")
    assert not fault(member.trial(Traced(step_of(member))))


class Once(Traced):
    """A step whose first forward of one token gives logits that are `value`."""

    def __init__(self, step: Step, value: float) -> None:
        super().__init__(step)
        self.value, self.done = value, False

    def __call__(self, ids: Tensor, *rest: Any) -> Tensor:
        logits = super().__call__(ids, *rest)
        if ids.shape == (1, 1) and not self.done:
            self.done = True
            logits = torch.full_like(logits, self.value)
        return logits


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_one_reading_without_numbers_is_found(value: float):
    """The worst reading of a size may be far off, but must be numbers."""
    assert fault(shallow().trial(Once(step_of(shallow()), value))).startswith(OTHER)


@pytest.mark.parametrize("kind", [*tiny.ARCHITECTURES, *unusual.OTHERS])
def test_float32_without_a_copy_is_float32(kind: str):
    """Weights that are widened one by one give the bits of a model that is widened as a whole."""
    model = tiny.build(kind) if kind in tiny.ARCHITECTURES else tiny.from_config(unusual.OTHERS[kind]())
    half = model.to(torch.bfloat16)
    wanted = plain_logits(copy.deepcopy(half).float(), [[5, 17, 33, 190, 2]] * 2)
    assert torch.equal(exact_logits(half, [[5, 17, 33, 190, 2]] * 2), wanted)
    assert not torch.equal(plain_logits(half, [[5, 17, 33, 190, 2]] * 2), wanted)
    assert half.dtype == torch.bfloat16


def test_a_window_off_by_one_is_found_before_compiling(monkeypatch: pytest.MonkeyPatch):
    """In a window of 512 tokens one token more is less than rounding; in the small model it is not."""
    config = tiny.build("gemma3").config
    config.sliding_window = 512
    model = tiny.from_config(config).to(torch.bfloat16)
    assert HFMember(model, "gemma3").masked
    masks = Masks.of(model)
    assert masks is not None
    member = HFMember(model, "gemma3").trial(Traced(Step(model, replace(masks, sliding=513), tiny.CONTEXT)))
    assert not fault(member)  # with its own weights nothing is seen
    monkeypatch.setattr(Masks, "of", wider(Masks.of))
    assert not HFMember(model, "gemma3").masked


def wider(of: Callable[[Any], Masks | None]) -> Callable[[Any], Masks | None]:
    def found(model: Any) -> Masks | None:
        masks = of(model)
        return None if masks is None else replace(masks, sliding=masks.sliding + 1)

    return found
