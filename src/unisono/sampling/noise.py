"""Keyed randomness: each random choice has a key, and the random numbers of a choice depend only on its key.

The key is (seed, sample, purpose, position, round). The numbers come from numpy's counter-based Philox generator. Seed
and sample are the generator's key; purpose, position and round are its counter. So rows share no state, the order of
calls does not matter, and the numbers are the same on every device.

The choices with the purposes `TARGET` and `MEMBER` determine the text of a seed. Their random numbers do not depend on
the round. Each position has one vector of exponential variates and one number that draws a member. Every schedule may
use these numbers more than once. For the other purposes, each round has new random numbers. A key with such a purpose
may be used only once, because a second use would bias the text. An assertion checks this rule.

A method of `Noise` makes one choice for one row. The module `sampler` makes the same choices for many rows at once.
"""

from bisect import bisect_right
from enum import IntEnum
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unisono.sampling.exponentials import SMALL, Exponentials, open_unit
from unisono.sampling.inversion import inverse

AHEAD = 16  # how many positions have their number that draws a member computed together
LANES = 4  # Philox generates blocks of four numbers
KEPT = 2**20  # the maximum number of exponential variates that a row caches: proposals and targets use the same
SHARE = 8  # for more than `SMALL` tokens, a race on the host makes and caches fewer than one of this many variates


class Purpose(IntEnum):
    """The purpose of a choice. `PICK`, `PROPOSE`, `ACCEPT` and `RESIDUAL` share one block of four uniform numbers."""

    TARGET = 0
    PROPOSE = 1
    ACCEPT = 2
    RESIDUAL = 3
    MEMBER = 4
    PICK = 5  # a proposer's choice over something else than tokens


UNIFORM = 1  # the purpose in the counter for all purposes that share a block
DEFINING = (Purpose.TARGET, Purpose.MEMBER)  # their round is always 0


class Noise(Protocol):
    """A source of random choices. Decoding uses `KeyedNoise`. Exact tests use `EnumeratingNoise`."""

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        """Return an index drawn from `law` [V]. The entries need not sum to exactly 1."""
        ...

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        """Draw one random boolean per position. Return how many booleans are true before the first false one.

        Boolean k belongs to position `position + k` and is true with probability `probabilities[k]`.
        """
        ...


class KeyedNoise:
    """The source of random choices for one row. The random numbers depend only on keys (see the module's docstring).

    Args:
        seed: in [0, 2**64).
        sample: the index of the sample among the samples of one prompt.
    """

    def __init__(self, seed: int, sample: int = 0) -> None:
        self._bits = np.random.Philox(key=np.array([seed, sample], dtype=np.uint64))
        self._start: Any = self._bits.state  # set before every call; making a new generator is five times as slow
        self._used: set[tuple[Purpose, int, int]] = set()
        self._block = (0, 0, 0)  # position, round and count of the cached lanes
        self._lanes = np.empty(0)
        self._races: dict[int, Exponentials] = {}  # by position
        self._first = 0  # the first of the positions whose numbers that draw a member are cached
        self._drawing: list[float] = []  # these numbers

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        if purpose is Purpose.TARGET:
            return self.winner(law.cpu(), position)
        if purpose is Purpose.MEMBER:
            return _member(law.tolist(), self._member_number(position))
        numbers = self.uniforms(purpose, position, round)
        return int(inverse(law.unsqueeze(0), torch.from_numpy(numbers[:1]).to(law.device)))

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        uniforms = torch.from_numpy(self.uniforms(Purpose.ACCEPT, position, round, len(probabilities)))
        failed = ~(uniforms < probabilities.double().cpu())
        return int(failed.int().argmax()) if bool(failed.any()) else len(probabilities)

    def uniforms(self, purpose: Purpose, position: int, round: int, count: int = 1) -> np.ndarray:
        """Return `count` uniform float64 numbers in (0, 1): one for each of the positions that start at `position`."""
        for offset in range(count):
            name = (purpose, position + offset, round)
            assert name not in self._used, f"random name used twice: {name}"
            self._used.add(name)
        # ACCEPT and RESIDUAL of the same positions are requested one after the other and use the same blocks
        block = (position, round, count)
        if self._block != block:
            # The position is the low word of the counter of blocks: each position has one block of four numbers
            raw = self._raw([position, UNIFORM, round, 0], LANES * count)
            self._block = block
            self._lanes = open_unit(raw)
        return self._lanes[0 if purpose is Purpose.PICK else purpose :: LANES]

    def winner(self, law: Tensor, position: int) -> int:
        """Return the token of the `TARGET` choice at a position, for a law [V] on the host."""
        size = len(law)
        return self._race(position, size if size <= SMALL else size // SHARE).winner(law)

    def exponentials(self, position: int, size: int) -> np.ndarray:
        """Return `size` float64 exponential variates for the `TARGET` choice at a position, equal in every call."""
        return self._race(position, size).vector(size)

    def _member_number(self, position: int) -> float:
        if not 0 <= position - self._first < len(self._drawing):
            raw = self._raw([position, Purpose.MEMBER, 0, 0], LANES * AHEAD)  # one block of numbers per position
            self._first, self._drawing = position, open_unit(raw)[::LANES].tolist()
        return self._drawing[position - self._first]

    def _race(self, position: int, size: int) -> Exponentials:
        """Return the variates of a position, of which about `size` will be made. Keep those of the latest positions."""
        if position not in self._races:
            self._races[position] = Exponentials(lambda part, *block: self._words(position, part, *block))
            while len(self._races) > max(1, KEPT // size):
                del self._races[next(iter(self._races))]
        return self._races[position]

    def _words(self, position: int, part: int, first: int, count: int) -> np.ndarray:
        return self._raw([first, Purpose.TARGET, position, part], count)

    def _raw(self, counter: list[int], count: int) -> np.ndarray:
        self._start["state"]["counter"][:] = counter
        self._bits.state = self._start
        raw: np.ndarray = self._bits.random_raw(count)
        return raw


def _member(odds: list[float], number: float) -> int:
    """Return the index drawn from `odds` by inverting their cumulative sums at a number in (0, 1), as `inverse` does."""
    cumulative = list(accumulate(odds))
    return min(bisect_right(cumulative, cumulative[-1] * number), len(odds) - 1)
