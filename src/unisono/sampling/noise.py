"""Keyed randomness: each random choice has a key, and the key alone decides the outcome.

The key is (seed, sample, purpose, position, round). The numbers come from numpy's counter-based Philox generator: seed and
sample are its key, and the rest is its counter. So rows share no state, the order of calls does not matter, and the numbers
are the same on every device.

The purposes `TARGET` and `MEMBER` define the text that a seed gives: each position has one vector of exponential variates
and one number that draws a member. They are the same in every round, and every schedule may look at them. The purposes
`PROPOSE`, `ACCEPT`, `RESIDUAL` and `PICK` only decide how the text is found. Each of their keys is used once, which is
asserted: to use a number twice would bias the output.

A `Noise` makes one choice of one row; the module `sampler` makes the same choices for many rows at once.
"""

from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

LANES = 4  # numbers that Philox makes at a time
KEPT = 2**20  # the most exponential variates that a row keeps: what it proposed with, it decides with


class Purpose(IntEnum):
    """What a choice is for. `PICK`, `PROPOSE`, `ACCEPT` and `RESIDUAL` are lanes of one block of four uniform numbers."""

    TARGET = 0
    PROPOSE = 1
    ACCEPT = 2
    RESIDUAL = 3
    MEMBER = 4
    PICK = 5  # a choice of a proposer that is no token of a law


UNIFORM = 1  # in the place of a purpose in the counter, for all lanes
DEFINING = (Purpose.TARGET, Purpose.MEMBER)  # their round is always 0


class Noise(Protocol):
    """The source of random choices: keyed numbers in decoding; every possible outcome in turn in `unisono.testing`."""

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        """Return a token id drawn from `law` [V]; its entries need not sum to exactly 1."""
        ...

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        """Toss a coin per position; return how many of the first coins come up true before one does not.

        Coin k belongs to position `position + k` and comes up true with probability `probabilities[k]`.
        """
        ...


class KeyedNoise:
    """The noise of one row.

    Args:
        seed: in [0, 2**64).
        sample: index of the sample among several drawn for one request.
    """

    def __init__(self, seed: int, sample: int = 0) -> None:
        self._bits = np.random.Philox(key=np.array([seed, sample], dtype=np.uint64))
        self._start: Any = self._bits.state  # set for every call: a new generator would cost five times as much
        self._used: set[tuple[Purpose, int, int]] = set()
        self._block = (0, 0, 0)  # position, round and count of the lanes kept
        self._lanes = np.empty(0)
        self._races: dict[int, np.ndarray] = {}  # exponential variates of the positions asked for last

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        if purpose is Purpose.TARGET:
            variates = torch.from_numpy(self.exponentials(position, len(law)))
            return int(race(law, variates.to(law.device)))
        if purpose is Purpose.MEMBER:
            numbers = _open_unit(self._raw([position, purpose, 0, 0], 1))
        else:
            numbers = self.uniforms(purpose, position, round)
        return int(inverse(law, torch.from_numpy(numbers).to(law.device)))

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        uniforms = torch.from_numpy(self.uniforms(Purpose.ACCEPT, position, round, len(probabilities)))
        failed = ~(uniforms < probabilities.double().cpu())
        return int(failed.int().argmax()) if bool(failed.any()) else len(probabilities)

    def uniforms(self, purpose: Purpose, position: int, round: int, count: int = 1) -> np.ndarray:
        """Return `count` float64 numbers in (0, 1), one for each position from `position` on."""
        for offset in range(count):
            name = (purpose, position + offset, round)
            assert name not in self._used, f"random name used twice: {name}"
            self._used.add(name)
        # What is accepted and what replaces it are asked for one after the other: both are lanes of the same numbers
        block = (position, round, count)
        if self._block != block:
            # position is the low word of the counter, which counts blocks of four numbers: one block per position
            raw = self._raw([position, UNIFORM, round, 0], LANES * count)
            self._block = block
            self._lanes = _open_unit(raw)
        return self._lanes[0 if purpose is Purpose.PICK else purpose :: LANES]

    def exponentials(self, position: int, size: int) -> np.ndarray:
        """Return the `TARGET` vector of a position: `size` float64 exponential variates, the same at every call."""
        if len(self._races.get(position, ())) < size:
            raw = self._raw([0, Purpose.TARGET, position, 0], size)
            self._races[position] = -np.log(_open_unit(raw))
            while len(self._races) > max(1, KEPT // size):
                del self._races[next(iter(self._races))]
        return self._races[position][:size]

    def _raw(self, counter: list[int], count: int) -> np.ndarray:
        self._start["state"]["counter"][:] = counter
        self._bits.state = self._start
        raw: np.ndarray = self._bits.random_raw(count)
        return raw


def inverse(laws: Tensor, uniforms: Tensor) -> Tensor:
    """Return the token [B] that a uniform number [B] in (0, 1) stands for in the cumulative sum of each law [B, V]."""
    cumulative = torch.cumsum(laws, -1, dtype=torch.float64)
    # right=True skips tokens without mass: the answer is the first whose cumulative mass exceeds the threshold
    thresholds = cumulative[..., -1:] * uniforms.unsqueeze(-1)
    # Of a law that is none (nan) some token comes out too; whoever uses it is told in another way
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1).clamp(max=laws.shape[-1] - 1)


def race(laws: Tensor, exponentials: Tensor) -> Tensor:
    """Return the winner [B] of each exponential race (Gumbel-max): the argmax of law / exponentials, both [B, V].

    The winner has the distribution of the law.
    """
    return (laws.double() / exponentials).argmax(-1)


def _open_unit(raw: np.ndarray) -> np.ndarray:
    """Return float64 numbers strictly inside (0, 1): 52 of 64 random bits plus half a step, so that none rounds to 1."""
    unit: np.ndarray = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return unit
