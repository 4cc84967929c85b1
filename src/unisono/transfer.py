"""Tokens and numbers between the host and a device: the only places where the host waits for one.

A drafted token stays where it was drawn until its verification is fetched, so a round waits once, however long its
drafts are and however many rows settle.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Token = int | Tensor  # an id, or a tensor [] that holds it on a device


def on_host(tensor: Tensor) -> bool:
    """Whether reading the tensor's values is no wait."""
    return tensor.device.type == "cpu"


def known_tokens(tokens: Tensor) -> list[Token]:
    """The entries of [R]: numbers where that costs nothing, else tensors []."""
    return tokens.tolist() if on_host(tokens) else list(tokens.unbind())


def token_tensor(tokens: Sequence[Token], device: torch.device) -> Tensor:
    """Ids of either kind as one tensor [N] on the device; does not wait."""
    drawn = {place: token for place, token in enumerate(tokens) if isinstance(token, Tensor)}
    if not drawn:
        return torch.tensor(tokens, dtype=torch.long, device=device)
    ids = torch.tensor([0 if place in drawn else token for place, token in enumerate(tokens)], device=device)
    places = torch.tensor(list(drawn), device=device)
    return ids.index_copy(0, places, torch.stack([token.to(device) for token in drawn.values()]))


def fetch(tensors: Sequence[Tensor]) -> list[list[Any]]:
    """The values of tensors of any shapes and devices, as nested lists, after a single wait.

    Integers below 2**53, float32 and float64 come over exactly: they travel together as float64.
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
