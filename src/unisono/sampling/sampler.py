"""Random choices for many rows at once, which stay on the device.

Each choice is the one that the row's own `Noise` would make. Rows with keyed noise choose together, from the numbers of
their noises. Rows with any other noise are asked one by one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unisono.sampling.noise import DEFINING, KeyedNoise, Noise, Purpose, inverse, race


@dataclass(frozen=True)
class Names:
    """The keys of one row's choices in a round, at `count` positions from `position` on."""

    noise: Noise
    position: int
    round: int
    count: int = 1
    certain: bool = False  # all laws are one-hot: numbers would choose nothing

    @property
    def keyed(self) -> KeyedNoise | None:
        """The noise, if it is keyed; else None."""
        return self.noise if isinstance(self.noise, KeyedNoise) else None

    def draw(self, law: Tensor, purpose: Purpose, offset: int = 0) -> int:
        """Return a token that the row's noise draws, at an offset from the first position."""
        round = 0 if purpose in DEFINING else self.round
        return self.noise.draw(law, purpose, self.position + offset, round)

    def leading(self, probabilities: Tensor) -> int:
        """Return how many of the row's first `count` coins come up true before one does not."""
        if not self.count:
            return 0
        return self.noise.leading(probabilities[: self.count], self.position, self.round)

    def following(self, law: Tensor, accepted: int, free: bool) -> int:
        """Return the token that the row's noise draws behind the accepted proposals; 0 if none follows."""
        if accepted < self.count:
            return self.draw(law, Purpose.RESIDUAL, accepted)
        return self.draw(law, Purpose.TARGET, accepted) if free else 0


def draw(laws: Tensor, purpose: Purpose, names: Sequence[Names]) -> Tensor:
    """Return a token [B] from each law [B, V], each drawn with the key at the row's first position."""
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
    """Return how many of each row's first coins come up true before one does not: [B].

    Args:
        probabilities: [B, K]; the entries of a row with fewer than K keys are followed by zeros.
    """
    if not _all_keyed(names):
        rows = zip(names, probabilities, strict=True)
        return _tensor((name.leading(row) for name, row in rows), probabilities)
    numbers = _uniforms(Purpose.ACCEPT, names, probabilities, probabilities.shape[-1])
    passed = numbers < probabilities.double()
    return passed.long().cumprod(-1).sum(-1)


def last(probabilities: Tensor, names: Sequence[Names]) -> Tensor:
    """Return the number of the last coin of each row that comes up true, counted from 1; 0 if none does: [B].

    Args:
        probabilities: [B, K]; the entries of a row with fewer than K keys are followed by anything.
    """
    counts = _tensor((name.count for name in names), probabilities)
    width = probabilities.shape[-1]
    offsets = torch.arange(width, device=probabilities.device)
    places = counts.unsqueeze(-1) - 1 - offsets  # from the last toss to the first
    failing = 1 - probabilities.gather(-1, places.clamp(min=0))
    failing = failing.masked_fill(places < 0, 0)
    return counts - leading(failing, names)


def redraw(laws: Tensor, accepted: Tensor, names: Sequence[Names], free: Sequence[bool]) -> Tensor:
    """Return the token that follows the accepted proposals of each row: [B].

    A rejected proposal is replaced with the key `RESIDUAL`. If all proposals are accepted and a free position follows, a token
    is drawn there with the key `TARGET`. Otherwise no token follows, and the entry has no meaning.

    Args:
        laws: [B, V], what the token is drawn from. accepted: how many proposals are accepted, [B].
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
    """Return the tokens, with those of free positions drawn where all proposals of the row are accepted."""
    behind = [row for row, is_free in enumerate(free) if is_free]
    ends = [replace(names[row], position=names[row].position + names[row].count) for row in behind]
    rows = _tensor(behind, laws)
    counts = _tensor((names[row].count for row in behind), laws)
    targets = race(laws[rows], _exponentials(ends, laws))
    return tokens.index_copy(0, rows, torch.where(accepted[rows] == counts, targets, tokens[rows]))


def _all_keyed(names: Sequence[Names]) -> bool:
    return all(name.keyed for name in names)


def _uniforms(purpose: Purpose, names: Sequence[Names], like: Tensor, width: int) -> Tensor:
    """Return float64 [B, width]: the numbers of each row, followed by ones, for which no coin comes up true."""
    numbers = np.empty((len(names), width))
    numbers.fill(1)
    for row, name in zip(numbers, names, strict=True):
        if name.keyed and name.count:
            row[: name.count] = name.keyed.uniforms(purpose, name.position, name.round, name.count)
    return torch.from_numpy(numbers).to(like.device, non_blocking=True)


def _exponentials(names: Sequence[Names], laws: Tensor) -> Tensor:
    """Return the `TARGET` vector of each row's first position: float64 [B, V]."""
    size = laws.shape[-1]
    rows = [name.keyed.exponentials(name.position, size) for name in names if name.keyed]
    return torch.from_numpy(np.stack(rows)).to(laws.device, non_blocking=True)


def _tensor(values: Iterable[int], like: Tensor) -> Tensor:
    return torch.tensor(list(values), device=like.device)
