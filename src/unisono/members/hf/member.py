"""Members that run models of transformers. One forward pass runs many rows over one cache."""

import copy
import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unisono.errors import MemberError
from unisono.members.base import Context, Scores, Work
from unisono.members.hf import facts as said
from unisono.members.hf.acquire import acquire, record
from unisono.members.hf.attention import WIDENED, attention, lock_of, widening
from unisono.members.hf.cache import SlotCache, capacity
from unisono.members.hf.compiled import Compiled
from unisono.members.hf.graphs import Graphs
from unisono.members.hf.groups import PIECE, SHORT, groups, padded, split
from unisono.members.hf.mask import Masks
from unisono.members.hf.probe import is_isolated, require_faithful, shares_forwards
from unisono.members.hf.step import Step, Traced
from unisono.members.tokens import Append, TokenMember
from unisono.transfer import Token, token_tensor

LOG = logging.getLogger("unisono.members")


class HFMember(TokenMember):
    """A causal language model of transformers. A lock allows one forward pass at a time, so threads may share a member.

    Args:
        model: the model. It is put into evaluation mode, and its weights do not change. Members may share a model.
        name: the name in messages and statistics.
        context: the largest number of tokens in a slot; by default the model's own limit.

    Raises:
        MemberError: the model is not a causal decoder, its cache cannot be rolled back, or `context` is too large.
    """

    def __init__(self, model: PreTrainedModel, name: str, context: int | None = None) -> None:
        said.require_rewindable(model, name)
        super().__init__()
        self.name = name
        self.model = model.eval()
        self.parameters = model.num_parameters()
        self.context_length = said.context_length(model, context, name)
        self.width = int(getattr(model.config.get_text_config(), "hidden_size", 0))
        self.vocabulary = said.logit_count(model)
        self.device = str(model.device)
        self.end_ids = said.end_ids(model)
        self.sampling = said.sampling(model)
        self._keep = "logits_to_keep" if "logits_to_keep" in inspect.signature(model.forward).parameters else None
        self._argument = said.cache_argument(model)
        self._masks = Masks.of(model)  # None: the model makes its masks, and each row runs alone
        self._widen = widening(model)
        self._forbidden: Tensor | None = None
        self._cache = SlotCache()
        self._lane = 0
        self._lock = lock_of(model)
        self._mode = "off"  # the argument of `compile`
        self._step: Compiled | Graphs | Traced | None = None
        self._graphs: Graphs | None = None  # without recordings, for members of other ensembles
        self._uncompiled = False  # whether the log says that some forwards are not compiled
        self._together = SHORT  # rows with at most this many tokens share a forward
        if self._masks is None or not shares_forwards(self):
            self._masks = None
            require_faithful(self)
        self._token_bytes = self._measured()

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        self.vocabulary = vocabulary
        self._forbidden = torch.tensor(forbidden, device=self.model.device) if forbidden else None

    @property
    def keeps(self) -> bool:
        return self._cache.keep

    @property
    def masked(self) -> bool:
        return self._masks is not None

    @property
    def facts(self) -> Mapping[str, str]:
        return {
            "context": str(self.context_length or "-"),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "compiled": "yes" if self.compiled else "no",
            "architecture": type(self.model).__name__,
        } | ({} if self._together else {"deterministic": "yes"})

    @property
    def compiled(self) -> bool:
        """Return whether short forward passes are compiled."""
        return self._step is not None

    def compile(self, mode: str) -> None:
        """Use compiled forward passes for few tokens. If that is not possible, "auto" warns, and "on" raises MemberError.

        On a CPU, "auto" uses the compiled file of an earlier run, and "on" also compiles if there is no such file. On
        CUDA, "on" and "auto" record graphs instead. "off" does nothing.
        """
        self._mode = mode
        if mode == "off":
            return
        try:
            self._step = acquire(self, required=mode == "on")
        except MemberError as error:
            self._uncompilable(error)

    def step(self) -> Step | None:
        """Return the member's forward pass as a function of tensors; None if the model accepts no masks."""
        return None if self._masks is None else Step(self.model, self._masks, self.context_length)

    @property
    def layers(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Return for each layer an empty key and an empty value tensor with the dtype and sizes of the cache."""
        return self._cache.like

    def trial(self, step: Compiled | Graphs | Traced) -> "HFMember":
        """Return a view of this member that uses other compiled forward passes, to test them."""
        other = copy.copy(self)
        other._step = step
        return other

    def record(self, graphs: Graphs) -> None:
        """Use recorded graphs for few tokens. Raise MemberError if they cannot be recorded or give other scores."""
        self._cache.keep = True
        try:
            record(self, graphs)
        except MemberError:
            self._cache.give_back()
            raise
        self._step, self._graphs = graphs, graphs.fresh()

    def twin(self, name: str) -> "HFMember":
        """Return a second member for the same ensemble, with the same model, options and cache, but other slots."""
        twin = copy.copy(self)
        twin.name, twin._lane = name, self._cache.add_lane()
        return twin

    def share(self, name: str) -> "HFMember":
        """Return a member for another ensemble, with the same model and options, a new cache and no forbidden ids.

        Raises:
            MemberError: this member is compiled with "on", and the graphs of the other member cannot be recorded.
        """
        other = HFMember(self.model, name, self.context_length)
        other._mode = self._mode
        if self._graphs is None:
            other._step = self._step
        else:
            try:
                other.record(self._graphs.fresh())  # graphs are bound to one cache
            except MemberError as error:
                other._uncompilable(error)
        if not self._together:
            other.isolate()
        return other

    def isolate(self) -> None:
        """Run every row in a separate forward pass. Warn if other rows can still change the scores of a row."""
        self._together = 0
        if not is_isolated(self):
            warnings.warn(
                f"member {self.name} is not deterministic to the last bit on {self.device}: near-ties may fall otherwise "
                "beside other rows",
                stacklevel=3,
            )

    def _uncompilable(self, error: MemberError) -> None:
        """Handle an error of compilation or recording: with "on", raise a MemberError; with "auto", warn."""
        if self._mode == "on":
            raise MemberError(f"member {self.name} cannot have compile='on': {error}; use 'auto' or 'off'") from error
        warnings.warn(f"member {self.name} runs without compiled forwards: {error}", stacklevel=4)

    def memory(self, slots: int, places: int) -> int:
        lanes = self._cache.lanes
        return lanes * capacity(-(-slots // lanes), places + PIECE) * self._token_bytes  # with memory for padding

    def release(self) -> None:
        """If no slot is open, drop the recorded graphs and free the memory that the cache keeps for the graphs."""
        with self._lock:
            if self._cache.keep and not self._cache.lengths:
                self._step = None
                self._cache.give_back()

    def _open(self) -> int:
        with self._lock:
            return self._cache.open(self._lane)

    @torch.inference_mode()
    def _fork(self, slot: int) -> int:
        with self._lock:
            return self._cache.fork(slot)

    def _close(self, slot: int) -> None:
        with self._lock:
            self._cache.close(slot)

    def _held(self, slot: int) -> int:
        return self._cache.lengths[slot]

    def _cut(self, slot: int, count: int) -> None:
        self._cache.lengths[slot] = count

    @torch.inference_mode()
    def score(self, work: Sequence[Work]) -> list[Scores]:
        found: dict[int, Scores] = {}
        with self._lock:
            appended = [self._append(item) for item in work]
            self._cache.reserve(item.slot for item in appended)  # after this call, places do not change
            most, idle = self._together if self._masks else 0, self._step.idle if self._step else None
            for features in (False, True):  # forwards for hidden states are not compiled
                asked = [item for item in appended if item.features is features]
                for group in groups(asked, self._cache.place, most, idle):
                    found.update(zip((item.slot for item in group), self._forward(group), strict=True))
        return [found[item.slot] for item in work]

    def _measured(self) -> int:
        """Store one token, and return how many bytes of the cache the token takes."""
        slot = self.open(Context(0))
        try:
            self.score([Work(slot, tokens=[0], keep=1)])
            return self._cache.token_bytes
        finally:
            self.close(slot)

    def _forward(self, work: Sequence[Append]) -> list[Scores]:
        """Run one forward pass. `features` is equal in all items. Shorter rows are padded at the end."""
        width = padded(max(len(item.tokens) for item in work)) if self._masks else len(work[0].tokens)
        first = min(len(item.tokens) - item.keep for item in work)  # no row needs logits before this column
        columns = max(1, width - first)
        features: Tensor | None = None
        rows: Sequence[int] = range(len(work))
        asked = work[0].features
        if asked and self._step is not None and not self._uncompiled:
            self._uncompiled = True
            LOG.warning("member %s runs without compiled forwards where its hidden states are asked for", self.name)
        if self._step is not None and width <= SHORT and not asked:
            rows, logits = self._compiled_logits(work, width)
        else:
            logits, features = self._plain(work, width, columns, asked)
        logits = logits[:, -columns:, : self.vocabulary]
        if self._forbidden is not None:
            logits = logits.index_fill(-1, self._forbidden, -torch.inf)
        for item in work:
            self._cache.lengths[item.slot] += len(item.tokens)
        return split(work, rows, logits, features, width)

    def _compiled_logits(self, work: Sequence[Append], width: int) -> tuple[Sequence[int], Tensor]:
        """Run a compiled forward pass. Return the items' row indices, and logits [R, width, V], also for idle rows."""
        assert self._step is not None
        slots = [item.slot for item in work]
        places = [self._cache.place(slot) for slot in slots]
        first, last, wider = self._step.frame(places[0], places[-1] + 1, width)
        span = self._cache.span(first, last, wider, slots)
        rows = [place - span.first for place in places]
        tokens: list[Sequence[Token]] = [()] * len(span.starts)
        for row, item in zip(rows, work, strict=True):
            tokens[row] = item.tokens
        ids = _ids(tokens, wider, self.model.device)
        return rows, self._step(ids, span.starts, span.window, span.keys, span.values)[:, :width]

    def _plain(self, work: Sequence[Append], width: int, columns: int, features: bool) -> tuple[Tensor, Tensor | None]:
        """Return the last logits [rows, columns, V] of the uncompiled model, and hidden states if `features` is set."""
        device = self.model.device
        selection = self._cache.select([item.slot for item in work], width, device)
        options: dict[str, Any] = {self._argument: self._cache}
        if features:
            options["output_hidden_states"] = True
        if self._keep and columns < width:
            # A number would give the output layer a slice, and products of a slice in bfloat16 are slow on a CPU
            options[self._keep] = torch.arange(width - columns, width, device=device)
        last = self.context_length
        positions = selection.positions if last is None else selection.positions.clamp(max=last - 1)
        seen = torch.arange(selection.window, device=device)
        large = width == 1 and len(work) * selection.window >= self._widen
        with attention(self.model, WIDENED) if large else nullcontext():
            output = self.model(
                input_ids=_ids([item.tokens for item in work], width, device),
                attention_mask=self._masks(selection.positions, seen) if self._masks else None,
                position_ids=positions,
                use_cache=True,
                **options,
            )
        states = output.hidden_states[-1][:, -columns:].float() if features else None
        return output.logits[:, -columns:].float(), states


def _ids(tokens: Sequence[Sequence[Token]], width: int, device: torch.device) -> Tensor:
    """Return the tokens of the rows, padded at the end: [rows, width]."""
    padded = [token for row in tokens for token in (*row, *[0] * (width - len(row)))]
    return token_tensor(padded, device).view(len(tokens), width)
