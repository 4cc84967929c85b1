"""`deterministic`: what a row says does not depend on the rows beside it, to the last bit, in half precision too."""

import warnings
from typing import Any

import pytest
import torch

from tests import tiny
from unisono import Ensemble, SamplingParams
from unisono.members.base import Context, Work
from unisono.members.hf.groups import SHORT
from unisono.members.hf.member import HFMember
from unisono.members.hf.probe import is_isolated

PROMPTS = [[5, 17, 33], [9, 4], [1, 2, 3, 4, 5, 6, 7], [190] * 40, [8], [7, 7]]


def half(architecture: str = "llama") -> list[Any]:
    return [tiny.blend(model, 0, seed=0).to(torch.bfloat16) for model in tiny.models(architecture)]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_row_says_the_same_alone_and_in_a_batch(architecture: str):
    """bfloat16, sampled, unequal members: the text of each row is that of the row alone, token for token."""
    ensemble = tiny.ensemble(half(architecture), deterministic=True)
    params = [SamplingParams(max_tokens=24, temperature=0.9, seed=index) for index in range(len(PROMPTS))]
    together = ensemble.generate(PROMPTS, params, schedule="cos:3,2")
    for prompt, setting, found in zip(PROMPTS, params, together, strict=True):
        assert ensemble.generate([prompt], setting, schedule="cos:3,2")[0].token_ids == found.token_ids
    assert any(0 < each.stats.accepted < each.stats.verified for each in together)


def test_without_it_shared_forwards_round_otherwise():
    """What the option is for: in float32 the last bits change with the rows beside (here), but not with the option."""
    member = HFMember(tiny.models("llama")[0], "llama")
    assert not is_isolated(member)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        member.isolate()
    assert is_isolated(member)


def test_it_costs_the_sharing_of_forwards(monkeypatch: pytest.MonkeyPatch):
    """Every row is a forward of its own, whatever its width."""
    member = HFMember(tiny.models("llama")[0], "llama")
    member.isolate()
    slots = [member.open(Context(0)) for _ in range(3)]
    sizes: list[int] = []
    original = member.model.forward

    def counted(**options: Any) -> Any:
        sizes.append(len(options["input_ids"]))
        return original(**options)

    monkeypatch.setattr(member.model, "forward", counted)
    member.score([Work(slot, tokens=[5] * width, keep=1) for slot, width in zip(slots, (1, 4, SHORT + 1), strict=True)])
    assert sizes == [1, 1, 1]


def test_what_is_not_deterministic_is_told(monkeypatch: pytest.MonkeyPatch):
    """The self-test's answer is the user's: the option is not silently weaker than it sounds."""
    monkeypatch.setattr("unisono.members.hf.member.is_isolated", lambda member: False)
    with pytest.warns(UserWarning, match="not deterministic to the last bit"):
        Ensemble.load([{"model": tiny.models("llama")[0], "deterministic": True}])
