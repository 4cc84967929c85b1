"""Keyed random numbers: each random choice has a key, and the key alone determines the random numbers of the choice.

The key is (seed, sample, purpose, position, round). The numbers are those of numpy's counter-based Philox generator.
The generator's key is made of seed and sample. Its counter is made of purpose, position and round. So rows share no
state, the order of calls does not matter, and the numbers are the same on every device.

The purposes `TARGET` and `MEMBER` define the text of a seed. Each position has one vector of exponential variates for
`TARGET` and one number for `MEMBER`, which draws a member. These numbers are the same in every round, and every
schedule may read them. The purposes `PROPOSE`, `ACCEPT`, `RESIDUAL` and `PICK` only influence proposals and
verification. Each key with one of these purposes is used at most once, because a number that is used twice would bias
the output. An assertion checks this.

A `Noise` makes one choice of one row. The module `sampler` makes the same choices for many rows at once.
"""

from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

LANES = 4  # numbers that Philox makes at a time
KEPT = 2**20  # the most exponential variates that a row keeps; proposing and verifying use the same variates


class Purpose(IntEnum):
    """The purpose of a random choice. `PICK`, `PROPOSE`, `ACCEPT` and `RESIDUAL` are lanes of a block of 4 numbers."""

    TARGET = 0
    PROPOSE = 1
    ACCEPT = 2
    RESIDUAL = 3
    MEMBER = 4
    PICK = 5  # a choice of a proposer that does not draw a token from a law


UNIFORM = 1  # replaces the purpose in the counter; the block has the numbers of all lanes
DEFINING = (Purpose.TARGET, Purpose.MEMBER)  # their round is always 0


class Noise(Protocol):
    """A source of random choices. Decoding uses keyed numbers. `unisono.testing` tries all possible outcomes."""

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        """Draw a token id from `law` [V] and return the id. The entries of `law` need not sum to exactly 1."""
        ...

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        """Toss a coin per position. Return the number of coins that are true before the first coin that is false.

        Coin k belongs to position `position + k` and is true with probability `probabilities[k]`.
        """
        ...


class KeyedNoise:
    """The source of random choices for one row. Its random numbers depend only on keys (see the module).

    Args:
        seed: an integer in [0, 2**64).
        sample: the index of the sample, if a request has several samples.
    """

    def __init__(self, seed: int, sample: int = 0) -> None:
        self._bits = np.random.Philox(key=np.array([seed, sample], dtype=np.uint64))
        self._start: Any = self._bits.state  # set for every call: a new generator would cost five times as much
        self._used: set[tuple[Purpose, int, int]] = set()
        self._block = (0, 0, 0)  # position, round and count of the kept lanes
        self._lanes = np.empty(0)
        self._races: dict[int, np.ndarray] = {}  # position -> exponential variates, for the last positions

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
        """Return `count` uniform float64 numbers in (0, 1), one for each position from `position` on."""
        for offset in range(count):
            name = (purpose, position + offset, round)
            assert name not in self._used, f"random name used twice: {name}"
            self._used.add(name)
        # The numbers for ACCEPT and RESIDUAL are requested one after the other, and they are lanes of the same block
        block = (position, round, count)
        if self._block != block:
            # position is the low word of the counter, which counts blocks of four numbers: one block per position
            raw = self._raw([position, UNIFORM, round, 0], LANES * count)
            self._block = block
            self._lanes = _open_unit(raw)
        return self._lanes[0 if purpose is Purpose.PICK else purpose :: LANES]

    def exponentials(self, position: int, size: int) -> np.ndarray:
        """Return the exponential variates for `TARGET` at a position: `size` float64 numbers, equal at every call."""
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
    """Draw a token from each law [B, V] with a uniform number [B] in (0, 1), and return the tokens [B].

    The token is the first one whose cumulative probability exceeds the uniform number times the sum of the law.
    """
    cumulative = torch.cumsum(laws, -1, dtype=torch.float64)
    # right=True skips tokens of probability 0: the first cumulative mass that exceeds the threshold is found
    thresholds = cumulative[..., -1:] * uniforms.unsqueeze(-1)
    # A law of nan also gives some token; other code detects such laws
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1).clamp(max=laws.shape[-1] - 1)


def race(laws: Tensor, exponentials: Tensor) -> Tensor:
    """Draw a token from each law with exponential variates, and return the tokens [B]: the argmax of law / variate.

    This exponential race is equivalent to the Gumbel-max trick.

    Args:
        laws: [B, V], probabilities. exponentials: [B, V], exponential variates.
    """
    return (laws.double() / exponentials).argmax(-1)


def _open_unit(raw: np.ndarray) -> np.ndarray:
    """Return float64 numbers strictly between 0 and 1, from 64 random bits each.

    A number uses 52 of the bits and adds half a step, so no number rounds to 1.
    """
    unit: np.ndarray = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return unit
