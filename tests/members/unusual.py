"""Random tiny models out of the ordinary: some cannot be members at all, some need more care than most."""

from collections.abc import Callable
from typing import Any

import transformers as configs

from tests import tiny

SMALL = tiny.GROUPED
VOCABULARY, WINDOW = tiny.VOCABULARY, tiny.WINDOW
RECURRENT: dict[str, Callable[[], Any]] = {
    "mamba": lambda: configs.MambaConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, state_size=8),
    "jamba": lambda: configs.JambaConfig(**SMALL, attn_layer_period=2, attn_layer_offset=1, num_experts=2),
    "falcon-h1": lambda: configs.FalconH1Config(
        **SMALL, mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=1
    ),
    "qwen3-next": lambda: configs.Qwen3NextConfig(
        **{**SMALL, "num_hidden_layers": 4},
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    ),
    "lfm2": lambda: configs.Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
    "recurrent-gemma": lambda: configs.RecurrentGemmaConfig(**{**SMALL, "num_hidden_layers": 3}, lru_width=64),
    "rwkv": lambda: configs.RwkvConfig(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, attention_hidden_size=64
    ),
    "xlstm": lambda: configs.xLSTMConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_heads=2),
}


ENCODER: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
# Members with caches or masks of their own kind: all attention, so all can be rewound
OTHERS: dict[str, Callable[[], Any]] = {
    "bloom": lambda: configs.BloomConfig(vocab_size=VOCABULARY, hidden_size=64, n_layer=2, n_head=4),
    "falcon": lambda: configs.FalconConfig(**tiny.COMMON, alibi=True, new_decoder_architecture=False),
    "gpt-neox": lambda: configs.GPTNeoXConfig(**tiny.COMMON, intermediate_size=128),
    "gpt-oss": lambda: configs.GptOssConfig(**SMALL, head_dim=16, sliding_window=WINDOW, num_local_experts=4),
    "llama4": lambda: configs.Llama4TextConfig(
        **SMALL, head_dim=16, attention_chunk_size=WINDOW, num_local_experts=2, intermediate_size_mlp=128
    ),
    "deepseek-v3": lambda: configs.DeepseekV3Config(
        **{**SMALL, "num_key_value_heads": 4},
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=16,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
    ),
}
# Causal language models by name, without a key-value cache of the usual kind: what they read before is lost or not ours
UNCACHED: dict[str, Callable[[], Any]] = {
    "openai-gpt": lambda: configs.OpenAIGPTConfig(vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4),
    "xlnet": lambda: configs.XLNetConfig(vocab_size=VOCABULARY, d_model=64, n_layer=2, n_head=4, d_inner=128),
    "xlm": lambda: configs.XLMConfig(vocab_size=VOCABULARY, emb_dim=64, n_layers=2, n_heads=4),
    "bert": lambda: configs.BertConfig(**ENCODER),
    "deepseek-v3.2": lambda: configs.DeepseekV32Config(**{**SMALL, "num_key_value_heads": 4}),
}


def build(kind: str) -> Any:
    """A random model that cannot be rewound by the length of a key-value cache."""
    kinds = RECURRENT | UNCACHED
    return tiny.from_config(kinds[kind]())
