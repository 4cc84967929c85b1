"""Models that cannot be members are refused when they are loaded, by name: none decodes wrongly without a word."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Phi3Config, T5Config, T5ForConditionalGeneration

from tests import tiny
from tests.hf import models
from tests.members import unusual
from unisono import Ensemble, SamplingParams
from unisono.errors import MemberError
from unisono.members.base import Context, Work

PROMPT = [5, 17, 33, 190, 2]


def test_an_encoder_decoder_is_refused():
    """A model that is no decoder cannot be a member."""
    config = T5Config(vocab_size=tiny.VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(MemberError, match=r"T5ForConditionalGeneration.*not a causal"):
        Ensemble.load([T5ForConditionalGeneration(config)])


def test_something_that_is_no_model_is_refused():
    """A bare module is no transformers model."""
    with pytest.raises(MemberError, match="Linear"):
        Ensemble.load([torch.nn.Linear(2, 2)])


@pytest.mark.parametrize("kind", unusual.RECURRENT)
def test_models_with_a_recurrent_state_are_refused_by_name(kind: str):
    """A state that cannot be rewound by length, alone or beside attention, is refused when the member is loaded (R10)."""
    model = unusual.build(kind)
    with pytest.raises(MemberError, match=rf"{type(model).__name__} cannot be rewound") as caught:
        Ensemble.load([model])
    assert model.config.model_type in str(caught.value)


def test_a_recurrent_model_on_disk_is_refused(tmp_path: Path):
    """Refusal does not depend on how the model comes."""
    unusual.build("mamba").save_pretrained(tmp_path / "tiny-mamba")
    tiny.tokenizer().save_pretrained(tmp_path / "tiny-mamba")
    with pytest.raises(MemberError, match="tiny-mamba cannot be rewound"):
        Ensemble.load([str(tmp_path / "tiny-mamba")])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", unusual.UNCACHED)
def test_models_without_a_usual_cache_are_refused(kind: str):
    """A model that ignores the cache, sees the future or keeps more than keys and values would write nonsense."""
    model = unusual.build(kind)
    with pytest.raises(MemberError, match=type(model).__name__) as caught:
        Ensemble.load([model])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("schedule", ["speculative:4", "cos:2,3"])
def test_longrope_never_crosses_its_border(schedule: str):
    """Where the frequencies of the positions change with the length, cached keys no longer fit: no text gets there.

    Either the model is refused, or its context ends before, or the text is that of `standard` beyond it.
    """
    rope: dict[str, Any] = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32}
    factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    config = Phi3Config(**tiny.GROUPED, original_max_position_embeddings=32, rope_scaling=rope | factors)
    first = tiny.from_config(config)
    try:
        ensemble = tiny.ensemble([first, tiny.blend(first, 0.05, seed=1)])
    except MemberError:
        return
    params = SamplingParams(max_tokens=64, temperature=0)
    standard, found = (ensemble.generate([PROMPT], params, schedule=each)[0] for each in ("standard", schedule))
    assert found.token_ids == standard.token_ids
    if len(standard.token_ids) > 32 - len(PROMPT):
        assert list(standard.token_ids) == tiny.reference_greedy(models(ensemble), PROMPT, 64)


def test_frequencies_that_grow_with_the_length_end_with_the_context():
    """Dynamic scaling acts beyond the model's own context, where no text gets."""
    rope: dict[str, Any] = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    config = LlamaConfig(**{**tiny.GROUPED, "max_position_embeddings": 32}, rope_scaling=rope)
    first = tiny.from_config(config)
    ensemble = tiny.ensemble([first, tiny.blend(first, 0.05, seed=1)])
    params = SamplingParams(max_tokens=64, temperature=0)
    (found,) = ensemble.generate([PROMPT], params, schedule="cos:2,3")
    assert len(found.token_ids) == 32 - len(PROMPT)
    wanted = tiny.reference_greedy(models(ensemble), PROMPT, len(found.token_ids))
    assert list(found.token_ids) == wanted


@pytest.mark.parametrize("kind", unusual.OTHERS)
def test_other_kinds_of_attention_are_members(kind: str):
    """ALiBi, chunks, sinks, compressed keys, one key head: cached logits after rollbacks are those of a fresh forward."""
    tokens = [(11 * index + 5) % tiny.VOCABULARY for index in range(60)]
    model = tiny.from_config(unusual.OTHERS[kind]())
    member = Ensemble.load([model]).members[0]
    slot = member.open(Context(0))
    for length, burst in ((0, 50), (30, 4), (17, 20), (15, 1), (2, 40)):
        member.rewind(slot, length)
        logits = member.score([Work(slot, tokens=tokens[length : length + burst], keep=burst)])[0].logits
        fresh = tiny.fresh_logits(model, tokens[: length + burst])[length:]
        torch.testing.assert_close(logits, fresh, atol=1e-4, rtol=0)
