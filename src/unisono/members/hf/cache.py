"""A KV cache with one slot per running row. Lowering a slot's length rolls the slot back.

Each layer stores keys and values [slots, heads, capacity, dim]. Each slot has one length for all layers. A forward pass
can run any set of slots. It writes new tokens after the length of each slot, and the mask hides all later positions. A
rollback lowers a length and moves no data, so other rows do not change. Layers with a sliding window keep all tokens,
and the mask hides the tokens outside the window. So a rollback across the edge of the window is correct.

The number of slots and the capacity are doubled when necessary. The memory is freed when the last slot is closed.

If several members share a cache, each member has its own *lane*: a range of consecutive slots. So a forward pass of one
member does not run over slots of another member. When the cache grows, each slot keeps its number. The *place* of a
slot, which is its index in the tensors, may change.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

BLOCK = 128  # the capacity is BLOCK times a power of two


@dataclass(frozen=True)
class Selection:
    """The R slots of one forward pass, and the positions of the W new tokens of each slot.

    places: [R], the place of each slot. positions: [R, W]. window: number of positions that attention reads. run: if
    the places are consecutive, (first place, last place + 1); else None. Attention reads consecutive places without a
    copy.
    """

    places: Tensor
    positions: Tensor
    window: int
    run: tuple[int, int] | None


@dataclass(frozen=True)
class Span:
    """A range of R places for a compiled forward pass.

    first: the first place. starts: [R], the position of each slot's first new token. window: number of positions that
    attention reads. keys, values: one view of the cache per layer, [R, heads, capacity, dim].
    """

    first: int
    starts: Tensor
    window: int
    keys: list[Tensor]
    values: list[Tensor]


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer for all slots: [slots, heads, capacity, dim]. Slots of one lane are adjacent."""

    is_sliding = False
    is_croppable = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.selection: Selection | None = None
        self.shape = (0, 0)  # number of slots in all lanes, capacity

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = _room(key_states, self.shape), _room(value_states, self.shape)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write states [R, heads, W, dim] into the selected slots. Return all their states [R, heads, window, dim]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.selection is not None
        return _written(self.keys, key_states, self.selection), _written(self.values, value_states, self.selection)

    def resize(self, shape: tuple[int, int], lanes: int) -> None:
        if self.is_initialized:
            self.keys, self.values = _moved(self.keys, shape, lanes), _moved(self.values, shape, lanes)
        self.shape = shape

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (self.selection.window if self.selection else query_length), 0

    def get_seq_length(self) -> int:
        return 0 if self.selection is None else self.selection.window - self.selection.positions.shape[1]

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):
    """The KV cache of one member, or of several members that share one model.

    shape: number of slots in each lane, capacity. lengths: open slot -> number of tokens.
    """

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=SlotLayer)
        self.lanes = 1
        self.keep = False  # whether memory is kept after the last slot is closed, so that recorded graphs stay valid
        self.lengths: dict[int, int] = {}
        self.shape = (0, 0)
        self._selection: Selection | None = None
        self._views: dict[tuple[int, int], tuple[list[Tensor], list[Tensor]]] = {}
        self.like: list[tuple[Tensor, Tensor]] = []  # per layer, empty tensors with the dtype and sizes of the layer

    @property
    def token_bytes(self) -> int:
        """Return how many bytes of the cache one token takes; 0 if no token has been stored yet."""
        stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)
        return int(stored // max(1, self.lanes * self.shape[0] * self.shape[1]))

    def add_lane(self) -> int:
        """Add a lane and return its number. Call this method only while no slot is open."""
        assert not self.lengths
        self._empty()
        self.lanes += 1
        return self.lanes - 1

    def place(self, slot: int) -> int:
        """Return the index of a slot in the tensors. The index is valid until `reserve` makes the cache larger."""
        return slot % self.lanes * self.shape[0] + slot // self.lanes

    def open(self, lane: int = 0) -> int:
        """Return a new, empty slot."""
        slot = self._free(lane)
        self.lengths[slot] = 0
        return slot

    def close(self, slot: int) -> None:
        """Free the slot. Closing the last slot frees the memory, unless `keep` is true."""
        self.lengths.pop(slot, None)
        if not (self.lengths or self.keep):
            self._empty()

    def give_back(self) -> None:
        """Free the memory, and set `keep` to False. Call this method only while no slot is open."""
        self.keep = False
        self._empty()

    def _empty(self) -> None:
        """Free the memory. Store the dtype and sizes of each layer in `like`."""
        if self.layers:
            self.like = [(_room(layer.keys, (0, 0)), _room(layer.values, (0, 0))) for layer in self.layers]
        self._views.clear()
        self.layers.clear()
        self.shape = (0, 0)

    def reserve(self, slots: Iterable[int], length: int = 1) -> None:
        """Make the cache large enough to hold `length` tokens in each of these slots."""
        self._reserve(max(slot // self.lanes for slot in slots) + 1, length)

    def span(self, first: int, last: int, width: int, rows: Sequence[int]) -> Span:
        """Prepare a compiled forward pass, and return a `Span` with the places of the forward pass.

        The forward pass appends up to `width` tokens to each slot from place `first` to place `last`. The range may
        include slots that are not in `rows`. Tokens that are written after the lengths of these slots are never read.
        An earlier forward pass must have stored a token, so that the sizes of the layers are known.
        """
        self.reserve(rows)
        each = self.shape[0]
        slots = [place % each * self.lanes + place // each for place in range(first, min(last, self.lanes * each))]
        starts = [self.lengths.get(slot, 0) for slot in slots]
        self._reserve(each, max(starts) + width)
        window = max(self.lengths[slot] for slot in rows) + width
        keys, values = self._stored(first, first + len(slots))
        return Span(first, torch.tensor(starts, device=keys[0].device), window, keys, values)

    def _stored(self, first: int, last: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return views of the keys and values in a range of places. Later calls return the same views."""
        if (first, last) not in self._views:
            keys = [layer.keys[first:last] for layer in self.layers]
            self._views[first, last] = keys, [layer.values[first:last] for layer in self.layers]
        return self._views[first, last]

    def select(self, slots: Sequence[int], width: int, device: torch.device) -> Selection:
        """Prepare a forward pass that appends `width` tokens to each slot. Return a `Selection` for the forward pass.

        The caller increases the lengths of the slots afterwards.
        """
        starts = [self.lengths[slot] for slot in slots]
        window = max(starts) + width
        self.reserve(slots, window)
        places = [self.place(slot) for slot in slots]
        run = (places[0], places[-1] + 1) if places == list(range(places[0], places[-1] + 1)) else None
        positions = torch.tensor(starts, device=device).unsqueeze(1) + torch.arange(width, device=device)
        self._selection = Selection(torch.tensor(places, device=device), positions, window, run)
        for layer in self.layers:
            layer.selection = self._selection
        return self._selection

    def fork(self, source: int) -> int:
        """Return a new slot of the same lane with a copy of the content of slot `source`."""
        target = self._free(source % self.lanes)
        self.reserve((source, target))
        there, here = self.place(target), self.place(source)
        for layer in self.layers:
            layer.keys[there] = layer.keys[here]
            layer.values[there] = layer.values[here]
        self.lengths[target] = self.lengths[source]
        return target

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        while len(self.layers) <= layer_idx:
            self.layers.append(self._layer())
        states: tuple[Tensor, Tensor] = self.layers[layer_idx].update(key_states, value_states)
        return states

    def _layer(self) -> SlotLayer:
        layer = SlotLayer()
        layer.shape, layer.selection = (self.lanes * self.shape[0], self.shape[1]), self._selection
        return layer

    def _free(self, lane: int) -> int:
        """Return the lowest free slot of the lane, so that running rows stay close together."""
        return next(slot for slot in count(lane, self.lanes) if slot not in self.lengths)

    def _reserve(self, slots: int, length: int) -> None:
        wanted = (_doubled(self.shape[0], slots, 1), _doubled(self.shape[1], length, BLOCK))
        if wanted != self.shape:
            self.shape = wanted
            self._views.clear()
            for layer in self.layers:
                layer.resize((self.lanes * wanted[0], wanted[1]), self.lanes)
        for keys, values in self.like[len(self.layers) :]:
            self.layers.append(self._layer())
            self.layers[-1].lazy_initialization(keys, values)


def _written(store: Tensor, states: Tensor, selection: Selection) -> Tensor:
    rows, width = selection.positions.shape
    if selection.run and rows == 1:
        slot, start = selection.run[0], selection.window - width
        store[slot, :, start : selection.window] = states[0]
        return store[slot : slot + 1, :, : selection.window]
    # Two index tensors with a slice between them put the indexed dimensions first: [R, W, heads, dim]
    store[selection.places.unsqueeze(1), :, selection.positions] = states.transpose(1, 2)
    if selection.run:
        return store[selection.run[0] : selection.run[1], :, : selection.window]
    return store[:, :, : selection.window].index_select(0, selection.places)


def _room(like: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a tensor of zeros for `shape` = (slots, capacity), with the heads, dim, dtype and device of `like`.

    Uninitialised memory may contain nan, and a masked product 0 * nan is nan.
    """
    _, heads, _, size = like.shape
    return torch.zeros(shape[0], heads, shape[1], size, dtype=like.dtype, device=like.device)


def _moved(store: Tensor, shape: tuple[int, int], lanes: int) -> Tensor:
    larger = _room(store, shape)
    old, new = (each.view(lanes, each.shape[0] // lanes, *each.shape[1:]) for each in (store, larger))
    new[:, : old.shape[1], :, : store.shape[2]] = old
    return larger


def capacity(slots: int, tokens: int) -> int:
    """Return how many tokens fit into all slots of a cache that has grown for `slots` slots of `tokens` tokens."""
    return _doubled(1, slots, 1) * _doubled(0, tokens, BLOCK)


def power(count: int) -> int:
    """Return the smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


def _doubled(size: int, wanted: int, least: int) -> int:
    """Return `size` or the smallest number `least * 2**k` that is not below `wanted`, whichever is larger."""
    return max(size, least * power(max(1, -(-wanted // least))))
