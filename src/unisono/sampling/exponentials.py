"""Exponential races: draw a token by the argmax of `law / E`, where E has one exponential variate per token.

E is one vector per position, and each entry depends only on its key and on the token's id. A vector for 150,000 tokens
takes longer than everything else in a draw, so the vector is made in blocks of tokens, and only where a token can win.
This is possible because of two facts about independent exponential variates of rate 1:

- The smallest of n variates is exponential with rate n, and each variate is the smallest one with the same probability.
- Given the smallest variate m, the other variates are m plus new exponential variates of rate 1.

So a block first has its smallest variate and the place of this variate. The other variates of a block are made when
they are read. In a block, `law / E` is at most the block's largest probability divided by the block's smallest variate.
So most blocks cannot win, and their other variates are never made.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 32  # tokens
SMALL = 8192  # a vocabulary of at most this size has all its variates made
FIRST = 12  # the number of blocks that are read first; each further read takes twice as many

Floats = NDArray[np.floating]
Words = Callable[[int, int, int], NDArray[np.uint64]]  # (part, first block of four numbers, count) -> random integers


class Exponentials:
    """The vector of one position. The entries do not depend on the size of the vocabulary.

    Args:
        words: a function that returns `count` random integers of part 0 or part 1 of the position's numbers, from a
            given block of four numbers. Equal arguments must give equal integers.
    """

    def __init__(self, words: Words) -> None:
        self._words = words
        self._least = np.empty(0)  # the smallest variate of each block
        self._leaders = np.empty(0, dtype=np.int64)  # the token of the smallest variate in each block
        self._known: dict[int, NDArray[np.float64]] = {}  # the variates of single blocks
        self._all = np.empty(0)

    def vector(self, size: int) -> NDArray[np.float64]:
        """Return the first `size` variates."""
        if len(self._all) < size:
            self._prepare(size)
            blocks = len(self._least)
            self._all = self._variates(np.arange(blocks), self._words(1, 0, blocks * BLOCK)).reshape(-1)
        return self._all[:size]

    def winner(self, law: Tensor) -> int:
        """Return the argmax of `law / E` for a law [V] on the host. The lowest token wins a tie.

        If the law has no mass, or if all entries are nan, the winner is token 0.
        """
        masses = (law if law.dtype in (torch.float32, torch.float64) else law.float()).detach().numpy()
        if len(masses) <= SMALL:
            return int((masses / self.vector(len(masses))).argmax())
        self._prepare(len(masses))
        blocks = -(-len(masses) // BLOCK)
        bounds = _peaks(torch.from_numpy(masses)).numpy() / self._least[:blocks]
        # The tokens with the smallest variates need no other variates, and the best of them is hard to beat
        leaders = self._leaders[:blocks]
        leaders = leaders[: -1 if leaders[-1] >= len(masses) else None]
        ratios = masses[leaders] / self._least[: len(leaders)]
        ahead = int(ratios.argmax())
        value = float(ratios[ahead])
        return self._better(masses, bounds, value, int(leaders[ahead]) if value > 0 else 0)

    def _better(self, masses: Floats, bounds: Floats, value: float, token: int) -> int:
        """Return the winner. `token` has the ratio `value`; a better token is in a block whose bound is larger."""
        todo = np.flatnonzero(bounds > value)
        todo, count = todo[np.argsort(-bounds[todo])], FIRST
        while len(todo):
            tokens = (np.sort(todo[:count])[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
            variates = self._blocks(np.sort(todo[:count])).reshape(-1)
            inside = np.searchsorted(tokens, len(masses))  # a vocabulary may end within the last block
            ratios = masses[tokens[:inside]] / variates[:inside]
            best = int(ratios.argmax())
            value, token = max((value, -token), (float(ratios[best]), -int(tokens[best])))
            token = -token
            todo, count = todo[count:], 2 * count
            todo = todo[bounds[todo] > value]
        return token

    def _prepare(self, size: int) -> None:
        """Make the smallest variates of all blocks that contain the first `size` tokens."""
        blocks = -(-size // BLOCK)
        if len(self._least) < blocks:
            raw = self._words(0, 0, blocks)
            self._least = -np.log(open_unit(raw)) / BLOCK
            # `open_unit` does not use these bits
            self._leaders = np.arange(blocks) * BLOCK + (raw % np.uint64(BLOCK)).astype(np.int64)

    def _blocks(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the variates of the chosen blocks: [N, BLOCK]."""
        missing = [block for block in chosen.tolist() if block not in self._known]
        if missing:
            words = [self._words(1, block * BLOCK // 4, BLOCK) for block in missing]
            made = self._variates(np.array(missing), np.concatenate(words))
            self._known.update(zip(missing, made, strict=True))
            if len(missing) == len(chosen):
                return made
        return np.stack([self._known[block] for block in chosen.tolist()])

    def _variates(self, blocks: NDArray[np.int64], raw: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the variates of blocks, computed from one random integer per variate: [N, BLOCK]."""
        more = -np.log(open_unit(raw)).reshape(-1, BLOCK)
        more[np.arange(len(blocks)), self._leaders[blocks] % BLOCK] = 0
        more += self._least[blocks, None]
        return more


def race(laws: Tensor, exponentials: Tensor) -> Tensor:
    """Return tokens [B] drawn from laws [B, V] by exponential races: the argmax of `laws / exponentials`.

    This is equivalent to the Gumbel-max method.
    """
    return (laws.double() / exponentials).argmax(-1)


def open_unit(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return one float64 number in (0, 1) per 64-bit random integer: the middle of one of 2**52 equal intervals."""
    unit = (raw >> np.uint64(12)).astype(np.float64)
    unit += 0.5
    unit *= 2.0**-52
    return unit


def _peaks(law: Tensor) -> Tensor:
    """Return the largest probability of each block of a law [V]."""
    whole = len(law) // BLOCK * BLOCK
    peaks = law[:whole].view(-1, BLOCK).amax(-1)
    return torch.cat([peaks, law[whole:].amax(-1, keepdim=True)]) if whole < len(law) else peaks
