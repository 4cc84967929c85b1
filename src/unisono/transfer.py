"""Copy tokens and numbers between the host and a device. Only functions of this module make the host wait for a device.

A drafted token stays on its device until the result of its verification is fetched. So the host waits once per round,
for drafts of any length and for any number of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Token = int | Tensor  # an id, or a tensor [] that holds it on a device


def on_host(tensor: Tensor) -> bool:
    """Return whether the tensor is in the host's memory, where its values can be read without waiting."""
    return tensor.is_cpu


def known_tokens(tokens: Tensor) -> list[Token]:
    """Return the entries of `tokens` [R] as a list: integers if `tokens` is on the host, else tensors []."""
    return tokens.tolist() if on_host(tokens) else list(tokens.unbind())


def token_tensor(tokens: Sequence[Token], device: torch.device) -> Tensor:
    """Return token ids, each an integer or a tensor [], as one tensor [N] on the device. The host does not wait."""
    drawn = {place: token for place, token in enumerate(tokens) if isinstance(token, Tensor)}
    if not drawn:
        return torch.tensor(tokens, dtype=torch.long, device=device)
    ids = torch.tensor([0 if place in drawn else token for place, token in enumerate(tokens)], device=device)
    places = torch.tensor(list(drawn), device=device)
    return ids.index_copy(0, places, torch.stack([token.to(device) for token in drawn.values()]))


def fetch(tensors: Sequence[Tensor]) -> list[list[Any]]:
    """Return the values of tensors of any shapes and devices as nested lists. The host waits once.

    All values are copied together as float64. So integers below 2**53, float32 and float64 values stay exact.
    """
    if all(on_host(tensor) for tensor in tensors):
        return [tensor.tolist() for tensor in tensors]
    device = tensors[0].device
    flat = [tensor.flatten().to(device, torch.float64) for tensor in tensors]
    pieces = torch.split(torch.cat(flat).cpu(), [len(piece) for piece in flat])
    values = []
    for tensor, piece in zip(tensors, pieces, strict=True):
        values.append(piece.to(tensor.dtype).view(tensor.shape).tolist())
    return values


def fetch_fields(values: list[T]) -> list[T]:
    """Return copies of dataclasses or lists. In a copy, lists of values replace the tensors. The host waits once."""
    tensors: list[Tensor] = []
    _collect(values, tensors)
    filled: list[T] = _filled(values, iter(fetch(tensors)))
    return filled


def _collect(value: Any, tensors: list[Tensor]) -> None:
    """Append all tensors in a value to the list."""
    if isinstance(value, Tensor):
        tensors.append(value)
    elif isinstance(value, list):
        for part in value:
            _collect(part, tensors)
    elif is_dataclass(value):
        for part in vars(value).values():
            _collect(part, tensors)


def _filled(value: Any, answers: Iterator[list[Any]]) -> Any:
    """Return a copy of a value in which `answers` replace the tensors, in the order of `_collect`."""
    if isinstance(value, Tensor):
        return next(answers)
    if isinstance(value, list):
        return [_filled(part, answers) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{name: _filled(part, answers) for name, part in vars(value).items()})
    return value
