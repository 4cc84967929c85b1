"""A `Noise` that enumerates all outcomes of random choices, to compute exact laws (see `unisono.testing`)."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from unisono.sampling.noise import Noise, Purpose

Tokens = tuple[int, ...]


class Race:
    """The conditional distribution of the exponential variates of one position, given the winners of earlier races.

    Only the ratios of the variates matter. So the vector of variates is scaled to the sum 1, which makes it uniform on
    a simplex. The vectors for which a token wins under a law form a cone. So each earlier winner restricts the vector
    to a part of the simplex. The probability that a token wins the next race is a share of the volume of this part.
    """

    def __init__(self) -> None:
        self._asked: list[tuple[list[float], int]] = []
        self._part: list[np.ndarray] = []  # disjoint simplices; the rows of each array are the corners

    def chances(self, law: list[float]) -> list[float]:
        """Return the probability that each token wins a race under this law, given the earlier winners."""
        if not self._asked:
            return law
        if len(self._asked) == 1 and not self._part:
            self._part = _cone([np.eye(len(law))], *self._asked[0])
        volumes = [_volume(_cone(self._part, law, token)) if law[token] > 0 else 0.0 for token in range(len(law))]
        return [volume / sum(volumes) for volume in volumes]

    def settle(self, law: list[float], winner: int) -> None:
        if self._asked:
            self._part = _cone(self._part, law, winner)
        self._asked.append((law, winner))


FLAT = 1e-14  # thinner parts of a simplex are rounding errors


def _cone(part: list[np.ndarray], law: list[float], winner: int) -> list[np.ndarray]:
    """Return the part of the simplices where `E[winner] / law[winner]` is the smallest ratio."""
    for token, mass in enumerate(law):
        if token != winner and mass > 0:
            normal = np.zeros(len(law))
            normal[token], normal[winner] = law[winner], -mass
            part = [piece for simplex in part for piece in _above(simplex, normal / max(mass, law[winner]))]
    return part


def _above(simplex: np.ndarray, normal: np.ndarray) -> Iterator[np.ndarray]:
    """Yield disjoint simplices. Their union is the set of points x in `simplex` with `normal @ x >= 0`."""
    heights = simplex @ normal
    low, high = int(heights.argmin()), int(heights.argmax())
    if heights[low] > -FLAT:
        yield simplex
    elif heights[high] > FLAT:
        between = simplex[low] + (simplex[high] - simplex[low]) * heights[low] / (heights[low] - heights[high])
        for corner in (low, high):
            piece = simplex.copy()
            piece[corner] = between
            yield from _above(piece, normal)


def _volume(part: list[np.ndarray]) -> float:
    volume = sum(abs(float(np.linalg.det(simplex))) for simplex in part)
    return volume if volume > FLAT else 0.0


class EnumeratingNoise:
    """A `Noise` that enumerates all outcomes. Iteration calls `run` once for every sequence of random choices.

    Args:
        run: a function that takes the noise and returns an outcome.

    Yields:
        Pairs of an outcome and its probability. The probabilities sum to 1.
    """

    def __init__(self, run: Callable[[Noise], Tokens]) -> None:
        self._run = run
        self._path: list[int] = []  # the selected option of each choice in the current run
        self._options: list[int] = []  # the number of options of each choice
        self._probability = 1.0
        self._races: dict[int, Race] = {}  # by position
        self._members: dict[int, tuple[float, float]] = {}  # by position: an interval with the `MEMBER` number

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        if purpose is Purpose.MEMBER:
            return self._member(law.tolist(), position)
        if purpose is Purpose.TARGET:
            race = self._races.setdefault(position, Race())
            winner = self._choose(race.chances(law.tolist()))
            race.settle(law.tolist(), winner)
            return winner
        return self._choose(law.tolist())

    def _member(self, odds: list[float], position: int) -> int:
        """Return the member drawn by the `MEMBER` number of the position. Shrink the stored interval of this number."""
        low, high = self._members.get(position, (0.0, 1.0))
        ends = [0.0, *itertools.accumulate(odds)]
        parts = [(max(low, start), min(high, end)) for start, end in itertools.pairwise(end / ends[-1] for end in ends)]
        chances = [max(0.0, end - start) / (high - low) for start, end in parts]
        member = self._choose(chances)
        self._members[position] = parts[member]
        return member

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        passed, laws = 1.0, []
        for probability in probabilities.tolist():
            laws.append(passed * (1 - probability))
            passed *= probability
        return self._choose([*laws, passed])

    def __iter__(self) -> Iterator[tuple[Tokens, float]]:
        self._path = []
        while True:
            self._options, self._probability = [], 1.0
            self._races, self._members = {}, {}
            yield self._run(self), self._probability
            while self._path and self._path[-1] + 1 == self._options[len(self._path) - 1]:
                self._path.pop()
            if not self._path:
                return
            self._path[-1] += 1

    def _choose(self, law: list[float]) -> int:
        possible = [index for index, mass in enumerate(law) if mass > 0]
        if len(self._options) == len(self._path):
            self._path.append(0)
        index = possible[self._path[len(self._options)]]
        self._options.append(len(possible))
        self._probability *= law[index]
        return index
