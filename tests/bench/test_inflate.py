"""A model enlarged without changing its law, for measurements with real acceptance at another cost."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unisono.bench.inflate import inflate


def small() -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=64,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3)
    return model


def test_logits_stay_equal():
    """Wider, deeper, more heads: the same logits up to rounding, and the small model is left as it was."""
    model, ids = small(), torch.arange(40).unsqueeze(0)
    before = [parameter.clone() for parameter in model.parameters()]
    large = inflate(model, hidden=96, layers=5, intermediate=128)
    assert large.num_parameters() > 5 * model.num_parameters()
    with torch.no_grad():
        torch.testing.assert_close(large(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_model_cannot_be_made_smaller():
    """Nothing may be cut off."""
    with pytest.raises(ValueError, match="only be enlarged"):
        inflate(small(), hidden=16)
