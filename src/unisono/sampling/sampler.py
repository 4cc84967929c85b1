"""Random choices for many rows at once. The results stay on the device.

Each choice is the choice that the row's own `Noise` would make. If all rows have `KeyedNoise`, their choices are
computed together. Otherwise the noise of each row is called separately.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unisono import transfer
from unisono.sampling.exponentials import race
from unisono.sampling.inversion import inverse
from unisono.sampling.noise import DEFINING, KeyedNoise, Noise, Purpose
from unisono.sampling.ranking import best


@dataclass(frozen=True)
class Names:
    """The keys of one row's random choices in a round, for `count` positions that start at `position`."""

    noise: Noise
    position: int
    round: int
    count: int = 1
    certain: bool = False  # whether all laws are one-hot, so that no random numbers are needed

    @property
    def keyed(self) -> KeyedNoise | None:
        return self.noise if isinstance(self.noise, KeyedNoise) else None

    def draw(self, law: Tensor, purpose: Purpose, offset: int = 0) -> int:
        """Return a token drawn by the row's noise at position `self.position + offset`."""
        round = 0 if purpose in DEFINING else self.round
        return self.noise.draw(law, purpose, self.position + offset, round)

    def leading(self, probabilities: Tensor) -> int:
        """Draw `count` random booleans. Return how many are true before the first false one."""
        if not self.count:
            return 0
        return self.noise.leading(probabilities[: self.count], self.position, self.round)

    def following(self, law: Tensor, accepted: int, free: bool) -> int:
        """Return the token that follows the accepted proposals, drawn by the row's noise; 0 if no token follows.

        `law` is the law of this token. `free`: whether a token follows if all proposals are accepted.
        """
        if accepted < self.count:
            return self.draw(law, Purpose.RESIDUAL, accepted)
        return self.draw(law, Purpose.TARGET, accepted) if free else 0


def draw(laws: Tensor, purpose: Purpose, names: Sequence[Names]) -> Tensor:
    """Draw one token from each law [B, V], with the row's noise at the row's first position. Return the tokens [B]."""
    if not _all_keyed(names):
        rows = zip(names, laws, strict=True)
        return _tensor((name.draw(law, purpose) for name, law in rows), laws)
    if all(name.certain for name in names):
        return best(laws)
    if purpose is Purpose.TARGET:
        return _raced(laws, names)
    numbers = _uniforms(purpose, names, laws, 1)
    return inverse(laws, numbers[:, 0])


def leading(probabilities: Tensor, names: Sequence[Names]) -> Tensor:
    """Draw random booleans for each row. Return how many booleans are true before the first false one: [B].

    Args:
        probabilities: [B, K], the probabilities of true. A row with fewer than K keys is padded with zeros.
    """
    if not _all_keyed(names):
        rows = zip(names, probabilities, strict=True)
        return _tensor((name.leading(row) for name, row in rows), probabilities)
    numbers = _uniforms(Purpose.ACCEPT, names, probabilities, probabilities.shape[-1])
    passed = numbers < probabilities.double()
    return passed.long().cumprod(-1).sum(-1)


def last(probabilities: Tensor, names: Sequence[Names]) -> Tensor:
    """Draw random booleans for each row. Return the index of the last true boolean: [B].

    The first boolean has index 1. The result is 0 if no boolean is true.

    Args:
        probabilities: [B, K], the probabilities of true. A row with fewer than K keys may be padded with any values.
    """
    counts = _tensor((name.count for name in names), probabilities)
    width = probabilities.shape[-1]
    offsets = torch.arange(width, device=probabilities.device)
    places = counts.unsqueeze(-1) - 1 - offsets  # from the last boolean to the first
    failing = 1 - probabilities.gather(-1, places.clamp(min=0))
    failing = failing.masked_fill(places < 0, 0)
    return counts - leading(failing, names)


def redraw(laws: Tensor, accepted: Tensor, names: Sequence[Names], free: Sequence[bool]) -> Tensor:
    """Return the token that follows the accepted proposals of each row: [B].

    A rejected proposal is replaced by a draw with the purpose `RESIDUAL`. If all proposals are accepted and the row is
    free, the next token is drawn with the purpose `TARGET`. Otherwise no token follows, and the entry has no meaning.

    Args:
        laws: [B, V], for each row, the law of the token that follows. accepted: the number of accepted proposals, [B].
            free: for each row, whether the target law after the last proposal is known.
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
    """Return the tokens [B]. If a row is free and all its proposals are accepted, replace its token by a new draw."""
    behind = [row for row, is_free in enumerate(free) if is_free]
    if transfer.on_host(accepted):  # no race is run for a row with a rejected proposal
        behind = [row for row in behind if int(accepted[row]) == names[row].count]
        if not behind:
            return tokens
    ends = [replace(names[row], position=names[row].position + names[row].count) for row in behind]
    rows = _tensor(behind, laws)
    counts = _tensor((names[row].count for row in behind), laws)
    targets = _raced(laws[rows], ends)
    return tokens.index_copy(0, rows, torch.where(accepted[rows] == counts, targets, tokens[rows]))


def _raced(laws: Tensor, names: Sequence[Names]) -> Tensor:
    """Return tokens [B] drawn from laws [B, V] with the `TARGET` noise of each row's first position."""
    if transfer.on_host(laws):
        pairs = zip(names, laws, strict=True)
        return _tensor((name.keyed.winner(law, name.position) for name, law in pairs if name.keyed), laws)
    return race(laws, _exponentials(names, laws))


def _all_keyed(names: Sequence[Names]) -> bool:
    return all(name.keyed for name in names)


def _uniforms(purpose: Purpose, names: Sequence[Names], like: Tensor, width: int) -> Tensor:
    """Return the uniform numbers of each row: float64 [B, width]. Short rows are padded with ones, which mean false."""
    numbers = np.empty((len(names), width))
    numbers.fill(1)
    for row, name in zip(numbers, names, strict=True):
        if name.keyed and name.count:
            row[: name.count] = name.keyed.uniforms(purpose, name.position, name.round, name.count)
    return torch.from_numpy(numbers).to(like.device, non_blocking=True)


def _exponentials(names: Sequence[Names], laws: Tensor) -> Tensor:
    """Return the exponential variates for `TARGET` at each row's first position: float64 [B, V]."""
    size = laws.shape[-1]
    rows = [name.keyed.exponentials(name.position, size) for name in names if name.keyed]
    return torch.from_numpy(np.stack(rows)).to(laws.device, non_blocking=True)


def _tensor(values: Iterable[int], like: Tensor) -> Tensor:
    return torch.tensor(list(values), device=like.device)
