"""transformers models as members: forwards of many rows over one cache."""

import inspect
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unisono.members.base import Work
from unisono.members.cache import SlotCache, capacity
from unisono.members.facts import context, end_ids, logit_count, require_rewindable
from unisono.members.mask import Masks
from unisono.members.probe import is_faithful, require_faithful
from unisono.transfer import token_tensor

SHORT = 16  # rows with at most this many new tokens are scored together


class HFMember:
    """A causal language model of transformers. A lock serialises its forwards, so threads may share a member.

    Args:
        model: put into evaluation mode; its weights are not touched. Two members may share one model.
        name: how users and statistics call it.

    Raises:
        MemberError: the model cannot be rewound by length, or is no decoder.
    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        require_rewindable(model, name)
        self.name = name
        self.model = model.eval()
        self.parameters = model.num_parameters()
        self.context = context(model)
        self.vocabulary = logit_count(model)
        self.device = str(model.device)
        self.end_ids = end_ids(model)
        self._keep = "logits_to_keep" if "logits_to_keep" in inspect.signature(model.forward).parameters else None
        self._masks = Masks.of(model)  # None: the model makes its own, for one row at a time
        self._forbidden: Tensor | None = None
        self._cache = SlotCache()
        self._lock = threading.Lock()
        if self._masks is not None and not is_faithful(self):
            self._masks = None
        require_faithful(self)
        self._token_bytes = self._measured()

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        """Score only the first `vocabulary` ids, and give no mass to the forbidden ones."""
        self.vocabulary = vocabulary
        self._forbidden = torch.tensor(forbidden, device=self.model.device) if forbidden else None

    def memory(self, slots: int, tokens: int) -> int:
        return capacity(slots, tokens) * self._token_bytes

    def open(self) -> int:
        with self._lock:
            return self._cache.open()

    def fork(self, slot: int) -> int:
        with self._lock:
            return self._cache.fork(slot)

    def close(self, slot: int) -> None:
        with self._lock:
            self._cache.close(slot)

    def length(self, slot: int) -> int:
        return self._cache.lengths[slot]

    def rewind(self, slot: int, length: int) -> None:
        self._cache.lengths[slot] = length

    @torch.inference_mode()
    def score(self, work: Sequence[Work]) -> list[Tensor]:
        logits: dict[int, Tensor] = {}
        with self._lock:
            for group in _groups(work, SHORT if self._masks else 0):
                logits.update(zip((item.slot for item in group), self._forward(group), strict=True))
        return [logits[item.slot] for item in work]

    def _measured(self) -> int:
        """Bytes of cache per token: every architecture stores something else, so one is stored."""
        slot = self.open()
        try:
            self.score([Work(slot, [0], 1)])
            return self._cache.token_bytes
        finally:
            self.close(slot)

    def _forward(self, work: Sequence[Work]) -> list[Tensor]:
        """One forward; rows with fewer tokens than the longest are padded behind, where nothing looks."""
        device = self.model.device
        width = max(len(item.tokens) for item in work)
        selection = self._cache.select([item.slot for item in work], width, device)
        padded = [token for item in work for token in (*item.tokens, *[0] * (width - len(item.tokens)))]
        first = min(len(item.tokens) - item.keep for item in work)  # no row wants logits before this column
        options: dict[str, Any] = {self._keep: max(1, width - first)} if self._keep else {}
        positions = selection.positions if self.context is None else selection.positions.clamp(max=self.context - 1)
        output = self.model(
            input_ids=token_tensor(padded, device).view(len(work), width),
            attention_mask=self._masks(selection) if self._masks else None,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **options,
        )
        scores = output.logits[:, -max(1, width - first) :, : self.vocabulary].float()
        if self._forbidden is not None:
            scores = scores.index_fill(-1, self._forbidden, -torch.inf)
        for item in work:
            self._cache.lengths[item.slot] += len(item.tokens)
        ends = [len(item.tokens) - first if item.keep else 0 for item in work]
        return [scores[row, end - item.keep : end] for row, (item, end) in enumerate(zip(work, ends, strict=True))]


def _groups(work: Sequence[Work], most: int) -> Iterator[Sequence[Work]]:
    """Rows that share a forward: those with at most `most` tokens; others alone, so that nobody is padded to them."""
    short = sorted((item for item in work if len(item.tokens) <= most), key=lambda item: item.slot)
    if short:
        yield short
    yield from ([item] for item in work if len(item.tokens) > most)
