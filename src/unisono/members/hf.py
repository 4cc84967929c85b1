"""transformers models as members. The only file that knows what a transformers model looks like inside."""

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel
from transformers.utils import logging

from unisono.errors import MemberError
from unisono.members.cache import RewindableCache
from unisono.members.dtype import fast_dtype
from unisono.members.memory import parameter_count, require_room
from unisono.members.source import Source


class HFMember:
    """A causal language model of transformers. Forwards are serialised by a lock, so threads may share a member.

    Args:
        model: put into evaluation mode; its weights are not touched.
        name: how users and statistics call it.

    Raises:
        MemberError: the model cannot be rewound, or is no decoder.
    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        _require_rewindable(model, name)
        self.name = name
        self.model = model.eval()
        self.parameters = model.num_parameters()
        config = model.config.get_text_config()
        self.context: int | None = getattr(config, "max_position_embeddings", None)
        self.vocabulary = _logit_count(model)
        self.end_ids = _end_ids(model)
        self._keep = "logits_to_keep" if "logits_to_keep" in inspect.signature(model.forward).parameters else None
        self._forbidden: Tensor | None = None
        self._slots: dict[int, RewindableCache] = {}
        self._opened = 0
        self._lock = threading.Lock()

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        """Score only the first `vocabulary` ids, and give no mass to the forbidden ones."""
        self.vocabulary = vocabulary
        self._forbidden = torch.tensor(forbidden, device=self.model.device) if forbidden else None

    def open(self) -> int:
        with self._lock:
            self._opened += 1
            self._slots[self._opened] = RewindableCache()
            return self._opened

    def close(self, slot: int) -> None:
        with self._lock:
            self._slots.pop(slot, None)

    def length(self, slot: int) -> int:
        return int(self._slots[slot].get_seq_length())

    def rewind(self, slot: int, length: int) -> None:
        self._slots[slot].rewind(length)

    @torch.inference_mode()
    def score(self, slot: int, tokens: Sequence[int], keep: int) -> Tensor:
        ids = torch.tensor([tokens], device=self.model.device)
        options: dict[str, Any] = {self._keep: keep} if self._keep else {}
        with self._lock:
            output = self.model(input_ids=ids, past_key_values=self._slots[slot], use_cache=True, **options)
        logits: Tensor = output.logits[0, -keep:, : self.vocabulary].float()
        if self._forbidden is not None:
            logits = logits.index_fill(-1, self._forbidden, -torch.inf)
        return logits


def load(source: Source, folder: str | None = None) -> tuple[HFMember, Any]:
    """The member and its tokenizer (None if there is none).

    Args:
        source: what the user asked for.
        folder: read this folder instead of `source.model` (bundled models).

    Raises:
        MemberError: it cannot be found, read, rewound, or does not fit in memory.
    """
    if isinstance(source.model, torch.nn.Module):
        name = source.name or type(source.model).__name__
        return HFMember(_as_pretrained(source.model), name), source.tokenizer
    path = folder or str(source.model)
    name = source.name or Path(path).name
    where: dict[str, Any] = {} if folder else {"revision": source.revision}
    where["trust_remote_code"] = source.trust_remote_code
    config = _attempt(name, path, lambda: AutoConfig.from_pretrained(path, **where))
    with _without_progress_bar() if folder else nullcontext():  # bundled models load in no time
        model = _attempt(name, path, lambda: _load_model(source, name, path, config, where))
    tokenizer = source.tokenizer or _attempt(name, path, lambda: AutoTokenizer.from_pretrained(path, **where))
    return HFMember(model, name), tokenizer


def _load_model(source: Source, name: str, path: str, config: Any, where: dict[str, Any]) -> PreTrainedModel:
    device = source.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = fast_dtype(config.dtype, device) if source.dtype == "auto" else getattr(torch, source.dtype)
    if source.quantization is None and source.device_map is None:
        require_room(name, parameter_count(config, source.trust_remote_code), dtype, device)
    options: dict[str, Any] = {"dtype": dtype, **where}
    if source.quantization is not None:
        options["quantization_config"] = source.quantization
    if source.device_map is not None:
        options["device_map"] = source.device_map
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, config=config, **options)
    if source.device_map is None and source.quantization is None:
        model.to(device)
    return model


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """transformers' switch is global, so it is put back."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _attempt(name: str, path: str, load: Callable[[], Any]) -> Any:
    """Whatever the libraries below raise for a bad model becomes one line that names the model."""
    try:
        return load()
    except MemberError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        if not Path(path).exists():
            raise MemberError(
                f"unknown member: {path!r} is no local folder, and could not be had from the hub ({lines[0]})"
            ) from error
        raise MemberError(f"member {name} cannot be loaded from {path}: {lines[0]}") from error


def _as_pretrained(model: torch.nn.Module) -> PreTrainedModel:
    if not isinstance(model, PreTrainedModel):
        raise MemberError(f"a loaded member must be a transformers model, not: {type(model).__name__}")
    return model


def _require_rewindable(model: PreTrainedModel, name: str) -> None:
    config = model.config
    if config.is_encoder_decoder or not model.can_generate():
        raise MemberError(f"member {name} is not a causal language model: {config.model_type}")
    stateful = getattr(model, "_is_stateful", False)
    if stateful or not DynamicCache(config=config.get_text_config()).is_croppable:
        raise MemberError(
            f"member {name} cannot be rewound by length, which speculation needs: {config.model_type} keeps a "
            "recurrent state; use a model with attention layers only"
        )


def _logit_count(model: PreTrainedModel) -> int:
    head = model.get_output_embeddings()
    if head is not None and hasattr(head, "weight"):
        return int(head.weight.shape[0])
    return int(model.config.get_text_config().vocab_size)


def _end_ids(model: PreTrainedModel) -> frozenset[int]:
    generation = getattr(model, "generation_config", None)
    ids = getattr(generation, "eos_token_id", None)
    if ids is None:
        ids = model.config.get_text_config().eos_token_id
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)
