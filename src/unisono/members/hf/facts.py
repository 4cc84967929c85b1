"""Properties of transformers models, with special cases for some architectures."""

import inspect
from typing import Any

from transformers import DynamicCache, PreTrainedModel

from unisono.errors import MemberError
from unisono.params import SAMPLING

DYNAMIC_INT8 = "torch.ao.nn.quantized.dynamic"
UNUSUAL = {"indexed": "caches an index beside its keys", "compressed": "caches keys that stand for several tokens"}


def context_length(model: PreTrainedModel, asked: int | None = None, name: str = "") -> int | None:
    """Return the largest number of tokens that the model can hold; None for no limit.

    "linear" and "yarn" scaling multiply the original length, which is the length of texts in the first training.
    "longrope" and "dynamic" scaling change the frequencies of *all* positions when a text becomes longer than the
    original length. Then the cached keys would be wrong. Therefore the limit is the original length.

    Args:
        asked: a user's value that replaces the model's limit; None for no value. name: the member's name.

    Raises:
        MemberError: `asked` is larger than the model allows.
    """
    config = model.config.get_text_config()
    own = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)  # the name in MPT
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    kind, original = rope.get("rope_type"), rope.get("original_max_position_embeddings")
    if own and kind in ("linear", "yarn"):
        own = max(own, int(rope["factor"] * (original or own)))
    limits = [own, original or config.original_max_position_embeddings] if kind == "longrope" else [own]
    found = min((limit for limit in limits if limit and limit > 0), default=None)
    if asked and found and asked > found and (not rope or kind in ("longrope", "dynamic")):
        reason = f"{kind} scaling changes what is cached beyond" if rope else "its table of positions ends there"
        raise MemberError(
            f"member {name} holds at most {found} tokens, not {asked}: {reason}; lower its context_length"
        )
    return asked or found


def require_rewindable(model: PreTrainedModel, name: str) -> None:
    """Raise MemberError if the model is not a causal decoder with one key and one value per token in its cache."""
    config = model.config
    if config.is_encoder_decoder or not model.can_generate():
        raise MemberError(f"member {name} is not a causal language model: {config.model_type}")
    if any(type(module).__module__.startswith(DYNAMIC_INT8) for module in model.modules()):
        raise MemberError(
            f"member {name} has layers of torch's dynamic int8, which score a token by the tokens and rows beside it; take "
            "the model as it was before, or `quantization`"
        )
    reason = _not_rewindable(model)
    if reason:
        raise MemberError(
            f"member {name} cannot be rewound by length, which speculation needs: {config.model_type} {reason}; use a model "
            "with full or windowed attention in all layers"
        )


def _not_rewindable(model: PreTrainedModel) -> str:
    """Return the reason why the cache does not hold one key and value per token; an empty text if it holds them."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ()
    for part, reason in UNUSUAL.items():
        if any(part in kind for kind in kinds):
            return reason
    recurrent = getattr(model, "_is_stateful", False) or not DynamicCache(config=config).is_croppable
    return "keeps a recurrent state" if recurrent else ""


def cache_argument(model: PreTrainedModel) -> str:
    """Return the name of the cache argument of `model.forward`. transformers 5.24 renamed this argument."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def logit_count(model: PreTrainedModel) -> int:
    """Return the number of logits per position, including the logits of padding rows in the output matrix."""
    head = model.get_output_embeddings()
    if head is not None and hasattr(head, "weight"):
        return int(head.weight.shape[0])
    return int(model.config.get_text_config().vocab_size)


def sampling(model: PreTrainedModel) -> dict[str, Any]:
    """Return the sampling values of the model's generation config. As in vLLM, `do_sample` is ignored."""
    generation = getattr(model, "generation_config", None)
    said = {} if generation is None else generation.to_diff_dict()
    return {name: said[name] for name in SAMPLING if said.get(name) is not None}


def end_ids(model: PreTrainedModel) -> frozenset[int]:
    """Return the end tokens in the model's generation config, or else in its config; an empty set if there are none."""
    for config in (getattr(model, "generation_config", None), model.config.get_text_config()):
        ids = getattr(config, "eos_token_id", None)
        if ids is not None:
            return frozenset([ids] if isinstance(ids, int) else ids)
    return frozenset()
