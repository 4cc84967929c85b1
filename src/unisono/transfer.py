"""Copy tokens and numbers between the host and a device. Only functions of this module make the host wait for a device.

A drafted token stays on its device until the result of its verification is fetched. So the host waits once per round,
for drafts of any length and for any number of rows.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

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
    if all(map(on_host, tensors)):
        return [tensor.tolist() for tensor in tensors]
    device = tensors[0].device
    flat = [tensor.flatten().to(device, torch.float64) for tensor in tensors]
    pieces = torch.split(torch.cat(flat).cpu(), [len(piece) for piece in flat])
    values = []
    for tensor, piece in zip(tensors, pieces, strict=True):
        values.append(piece.to(tensor.dtype).view(tensor.shape).tolist())
    return values


def fetch_nested(values: Sequence[Any]) -> list[Any]:
    """Return a copy of nested sequences, as lists. Lists of values replace the tensors. The host waits once."""
    tensors: list[Tensor] = []
    _collect(values, tensors)
    return _filled(values, iter(fetch(tensors)))


def _collect(values: Sequence[Any], tensors: list[Tensor]) -> None:
    """Append all tensors in nested sequences to the list."""
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, list | tuple):
            _collect(value, tensors)


def _filled(values: Sequence[Any], answers: Iterator[list[Any]]) -> list[Any]:
    """Return a copy of nested sequences in which `answers` replace the tensors, in the order of `_collect`."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(next(answers))
        else:
            found.append(_filled(value, answers) if isinstance(value, list | tuple) else value)
    return found
