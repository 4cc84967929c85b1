"""What a transformers model says of itself. Its quirks stop here."""

from typing import Any

from transformers import DynamicCache, PreTrainedModel

from unisono.errors import MemberError
from unisono.params import SAMPLING


def context_length(model: PreTrainedModel) -> int | None:
    """The most tokens the model can hold; None if it has no limit.

    "longrope" changes the frequencies of *all* positions beyond its original length, cached ones included, so such a
    model is used up to there.
    """
    config = model.config.get_text_config()
    limits = [getattr(config, "max_position_embeddings", None)]
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        limits.append(rope.get("original_max_position_embeddings") or config.original_max_position_embeddings)
    return min((limit for limit in limits if limit and limit > 0), default=None)


def require_rewindable(model: PreTrainedModel, name: str) -> None:
    """Raise MemberError unless the model is a decoder whose cache is a list of keys and values."""
    config = model.config
    if config.is_encoder_decoder or not model.can_generate():
        raise MemberError(f"member {name} is not a causal language model: {config.model_type}")
    stateful = getattr(model, "_is_stateful", False)
    if stateful or not DynamicCache(config=config.get_text_config()).is_croppable:
        raise MemberError(
            f"member {name} cannot be rewound by length, which speculation needs: {config.model_type} keeps a "
            "recurrent state; use a model with attention layers only"
        )


def logit_count(model: PreTrainedModel) -> int:
    """Number of logits of one position, rows of padding included."""
    head = model.get_output_embeddings()
    if head is not None and hasattr(head, "weight"):
        return int(head.weight.shape[0])
    return int(model.config.get_text_config().vocab_size)


def sampling(model: PreTrainedModel) -> dict[str, Any]:
    """The sampling values that its generation config sets. As in vLLM, `do_sample` is not looked at."""
    generation = getattr(model, "generation_config", None)
    said = {} if generation is None else generation.to_diff_dict()
    return {name: said[name] for name in SAMPLING if said.get(name) is not None}


def end_ids(model: PreTrainedModel) -> frozenset[int]:
    """The tokens that end a text."""
    generation = getattr(model, "generation_config", None)
    ids = getattr(generation, "eos_token_id", None)
    if ids is None:
        ids = getattr(model.config.get_text_config(), "eos_token_id", None)
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)
