"""Copy tokens and numbers between the host and a device. Only functions of this module make the host wait for a device.

A drafted token stays on its device until the result of its verification is fetched. So the host waits once per round,
for drafts of any length and for any number of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Token = int | Tensor  # an id, or a tensor [] that holds it on a device


def on_host(tensor: Tensor) -> bool:
    """Return whether the tensor is in the host's memory, where its values can be read without waiting."""
    return tensor.device.type == "cpu"


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
    """Return copies of dataclasses and lists, in which lists of values replace tensors. The host waits once."""
    answers = iter(fetch(list(_tensors(values))))
    filled: list[T] = _filled(values, answers)
    return filled


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for part in _parts(value):
        yield from _tensors(part)


def _filled(value: Any, answers: Iterator[list[Any]]) -> Any:
    if isinstance(value, Tensor):
        return next(answers)
    parts = [_filled(part, answers) for part in _parts(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **dict(zip((each.name for each in fields(value)), parts, strict=True)))
    return parts if isinstance(value, list) else value


def _parts(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name) for each in fields(value)]
    return []
