"""Choices of many rows at once, left on the device: what each row's `Noise` would say, one question at a time.

Keyed noise is asked for its numbers, and all rows choose by them together. Any other noise is asked row by row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unisono.sampling.noise import DEFINING, KeyedNoise, Noise, Purpose, inverse, race


@dataclass(frozen=True)
class Names:
    """What the choices of one row at `count` positions, from `position` on, are called in a round."""

    noise: Noise
    position: int
    round: int
    count: int = 1
    certain: bool = False  # all laws are one-hot: numbers would choose nothing

    @property
    def keyed(self) -> KeyedNoise | None:
        """The noise, if it has numbers."""
        return self.noise if isinstance(self.noise, KeyedNoise) else None

    def draw(self, law: Tensor, purpose: Purpose, offset: int = 0) -> int:
        """The row's own draw at an offset from its first position."""
        round = 0 if purpose in DEFINING else self.round
        return self.noise.draw(law, purpose, self.position + offset, round)

    def leading(self, probabilities: Tensor) -> int:
        """The row's own tosses, of the first `count` probabilities."""
        if not self.count:
            return 0
        return self.noise.leading(probabilities[: self.count], self.position, self.round)

    def following(self, law: Tensor, accepted: int, free: bool) -> int:
        """The row's own token behind its accepted proposals, or 0 if there is none."""
        if accepted < self.count:
            return self.draw(law, Purpose.RESIDUAL, accepted)
        return self.draw(law, Purpose.TARGET, accepted) if free else 0


def draw(laws: Tensor, purpose: Purpose, names: Sequence[Names]) -> Tensor:
    """A token from each law [B, V], under its one name: [B]."""
    if not _all_keyed(names):
        rows = zip(names, laws, strict=True)
        return _tensor((name.draw(law, purpose) for name, law in rows), laws)
    if all(name.certain for name in names):
        return laws.argmax(-1)
    if purpose is Purpose.TARGET:
        return race(laws, _exponentials(names, laws))
    numbers = _uniforms(purpose, names, laws, 1)
    return inverse(laws, numbers[:, 0])


def leading(probabilities: Tensor, names: Sequence[Names]) -> Tensor:
    """How many of the first tosses of each row come up true: [B].

    Args:
        probabilities: [B, K]; a row's are followed by zeros where it has fewer than K names.
    """
    if not _all_keyed(names):
        rows = zip(names, probabilities, strict=True)
        return _tensor((name.leading(row) for name, row in rows), probabilities)
    numbers = _uniforms(Purpose.ACCEPT, names, probabilities, probabilities.shape[-1])
    passed = numbers < probabilities.double()
    return passed.long().cumprod(-1).sum(-1)


def last(probabilities: Tensor, names: Sequence[Names]) -> Tensor:
    """Behind which of each row's tosses nothing more comes up true, counted from 1; 0 if none does: [B].

    Args:
        probabilities: [B, K]; a row's are followed by anything where it has fewer than K names.
    """
    counts = _tensor((name.count for name in names), probabilities)
    width = probabilities.shape[-1]
    offsets = torch.arange(width, device=probabilities.device)
    places = counts.unsqueeze(-1) - 1 - offsets  # from the last toss to the first
    failing = 1 - probabilities.gather(-1, places.clamp(min=0))
    failing = failing.masked_fill(places < 0, 0)
    return counts - leading(failing, names)


def redraw(laws: Tensor, accepted: Tensor, names: Sequence[Names], free: Sequence[bool]) -> Tensor:
    """The token that follows the accepted proposals of each row, one name per proposal: [B].

    A rejected proposal is replaced under its `RESIDUAL` name. Behind the last one a token is drawn under the `TARGET`
    name if that position is free, else there is none, and the entry means nothing.

    Args:
        laws: [B, V], of the token there. accepted: [B].
    """
    if not _all_keyed(names):
        rows = zip(names, laws, accepted.tolist(), free, strict=True)
        return _tensor((name.following(*row) for name, *row in rows), laws)
    most = max(name.count for name in names)
    numbers = _uniforms(Purpose.RESIDUAL, names, laws, most)
    rejected = accepted.clamp(max=most - 1).unsqueeze(-1)
    tokens = inverse(laws, numbers.gather(-1, rejected)[:, 0])
    if any(free):
        tokens = _with_free(tokens, laws, accepted, names, free)
    return tokens


def _with_free(tokens: Tensor, laws: Tensor, accepted: Tensor, names: Sequence[Names], free: Sequence[bool]) -> Tensor:
    """The tokens, with those drawn at a free position where all proposals in front of it stand."""
    behind = [row for row, is_free in enumerate(free) if is_free]
    ends = [replace(names[row], position=names[row].position + names[row].count) for row in behind]
    rows = _tensor(behind, laws)
    counts = _tensor((names[row].count for row in behind), laws)
    targets = race(laws[rows], _exponentials(ends, laws))
    return tokens.index_copy(0, rows, torch.where(accepted[rows] == counts, targets, tokens[rows]))


def _all_keyed(names: Sequence[Names]) -> bool:
    return all(name.keyed for name in names)


def _uniforms(purpose: Purpose, names: Sequence[Names], like: Tensor, width: int) -> Tensor:
    """float64 [B, width]: a row's numbers, then ones, with which no toss comes up true."""
    numbers = np.empty((len(names), width))
    numbers.fill(1)
    for row, name in zip(numbers, names, strict=True):
        if name.keyed and name.count:
            row[: name.count] = name.keyed.uniforms(purpose, name.position, name.round, name.count)
    return torch.from_numpy(numbers).to(like.device, non_blocking=True)


def _exponentials(names: Sequence[Names], laws: Tensor) -> Tensor:
    """float64 [B, V]: the `TARGET` vector of each row's first position."""
    size = laws.shape[-1]
    rows = [name.keyed.exponentials(name.position, size) for name in names if name.keyed]
    return torch.from_numpy(np.stack(rows)).to(laws.device, non_blocking=True)


def _tensor(values: Iterable[int], like: Tensor) -> Tensor:
    return torch.tensor(list(values), device=like.device)
