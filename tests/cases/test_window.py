"""A mask that a model builds itself: a short row beside a long one has the text that it has alone, beyond any window."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from transformers import GPTNeoConfig, MistralConfig

from tests import tiny
from unisono import SamplingParams
from unisono.errors import MemberError
from unisono.members.hf.mask import Masks
from unisono.members.hf.member import HFMember
from unisono.members.hf.memory import empty_model
from unisono.members.hf.probe import shares_forwards
from unisono.members.hf.stand_in import stand_in, window

PARAMS = SamplingParams(max_tokens=24, temperature=0, ignore_eos=True)


def neo(reach: int, *kinds: str) -> Any:
    """A GPT-Neo with a layer of each kind; its local layers mask by themselves."""
    config = GPTNeoConfig(
        vocab_size=101,
        hidden_size=64,
        num_layers=len(kinds),
        num_heads=4,
        attention_types=[[list(kinds), 1]],
        window_size=reach,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=None,
    )
    return tiny.from_config(config)


@pytest.mark.parametrize(
    ("reach", "kinds", "length"),
    [(256, ("global", "local"), 300), (16, ("local",), 40), (70, ("local", "global", "local"), 90)],
)
def test_a_short_prompt_beside_a_long_one_has_its_own_text(reach: int, kinds: tuple[str, ...], length: int):
    """Windows below and above the length up to which the model itself is tried."""
    model = neo(reach, *kinds)
    ensemble = tiny.ensemble([model])
    short, long = [5, 17, 33], [(7 * index) % 98 + 2 for index in range(length)]
    for found, prompt in zip(ensemble.generate([long, short], PARAMS, schedule="standard"), (long, short), strict=True):
        assert list(found.token_ids) == tiny.transformers_greedy(model, prompt, 24)


def test_a_long_window_of_a_model_that_takes_masks_keeps_shared_forwards():
    """And what is drawn for the stand-in does not change anybody's random numbers."""
    model = tiny.build("mistral", sliding_window=100)
    state = torch.random.get_rng_state()
    member = HFMember(model, "mistral")
    assert member.masked
    assert torch.equal(state, torch.random.get_rng_state())


SIZES = ["Mistral", "Gemma2", "Gemma3Text", "GptOss", "Cohere2", "Qwen2", "Phi3", "Olmo3", "GPTNeo"]


@pytest.mark.parametrize("name", SIZES)
def test_a_model_of_full_size_is_tried_by_a_small_one(name: str, monkeypatch: pytest.MonkeyPatch):
    """The configurations as published: the stand-in is small, is scored with others, and shows a window off by one."""
    options: dict[str, Any] = {"use_sliding_window": True, "max_window_layers": 1} if name == "Qwen2" else {}
    config = getattr(transformers, f"{name}Config")(**options)
    if name == "Phi3":
        config.sliding_window = 2047
    model = empty_model(config)
    assert window(model) > 64
    small = stand_in(model)
    assert small.num_parameters() < 1e6
    assert HFMember(small, name).masked == (name != "GPTNeo")
    wrong = Masks.of(small)
    assert wrong is not None
    monkeypatch.setattr(Masks, "of", lambda model: replace(wrong, sliding=wrong.sliding + 1))
    assert not HFMember(small, name).masked


def test_one_that_cannot_be_made_small_is_scored_row_by_row(monkeypatch: pytest.MonkeyPatch):
    """Nobody knows how its class attends beyond its window, so no row shares a forward."""
    monkeypatch.setattr("unisono.members.hf.probe.stand_in", lambda model: 1 / 0)
    assert not HFMember(tiny.build("mistral", sliding_window=100), "mistral").masked


def test_windows_beyond_the_context_are_not_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("unisono.members.hf.probe.stand_in", lambda model: 1 / 0)
    config = MistralConfig(**tiny.GROUPED, sliding_window=4096)
    assert HFMember(tiny.from_config(config), "mistral").masked


def test_a_class_that_is_wrong_beyond_its_window_even_alone_is_refused():
    """Doge keeps only what its last tokens prefer beyond 2,048 tokens; with a cache these are others."""
    config = transformers.DogeConfig(**tiny.GROUPED, keep_window_size=100)
    with pytest.raises(MemberError, match="doge gives other scores with a key-value cache"):
        HFMember(tiny.from_config(config), "doge")


def test_the_probe_is_that_of_the_member():
    """A member that was loaded can be asked again."""
    assert shares_forwards(HFMember(tiny.build("gemma3"), "gemma3"))
