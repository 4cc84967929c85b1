"""A constraint: brackets that must balance. It forces a closing bracket where nothing else fits into the text."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

OPEN, CLOSE = 0, 1


class Brackets:
    """Texts of a fixed length in which every bracket that is opened is closed. Tokens other than 0 and 1 are letters.

    Args:
        vocabulary: how many tokens there are.
        length: of the text, in tokens.
        forces: whether `forced` tells the only token that is possible. The law of the text is the same without it.
        runs: by token, the tokens that must follow it; each run leaves as many brackets open as before.
        first: a run that begins the text.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        forces: bool = True,
        runs: Mapping[int, Sequence[int]] | None = None,
        first: Sequence[int] = (),
    ) -> None:
        self._vocabulary, self._length, self._forces = vocabulary, length, forces
        self._runs = {token: tuple(run) for token, run in (runs or {}).items()}
        self._states: list[tuple[int, tuple[int, ...]]] = [(0, tuple(first))]  # open brackets, and the rest of a run
        self._masks: dict[tuple[int, tuple[int, ...], int], Tensor] = {}  # by state; copies share them

    @property
    def left(self) -> int:
        """How many tokens the text still takes."""
        return self._length - len(self._states) + 1

    def accept(self, token: int) -> bool:
        if not self.left or not self._possible(token):
            return False
        depth, run = self._states[-1]
        self._states.append((self._depth(depth, token), run[1:] if run else self._runs.get(token, ())))
        return True

    def rollback(self, count: int) -> None:
        assert count < len(self._states)
        del self._states[len(self._states) - count :]

    def mask(self) -> Tensor:
        key = *self._states[-1], self.left
        if key not in self._masks:
            self._masks[key] = torch.tensor([self._possible(token) for token in range(self._vocabulary)])
        return self._masks[key]

    def forced(self) -> int | None:
        possible = [token for token in range(self._vocabulary) if self._possible(token)]
        return possible[0] if self._forces and len(possible) == 1 else None

    def copy(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self), _states=list(self._states))
        return other

    def _possible(self, token: int) -> bool:
        depth, run = self._states[-1]
        if run:
            return token == run[0]
        behind = self.left - 1 - len(self._runs.get(token, ()))
        return 0 <= self._depth(depth, token) <= behind

    def _depth(self, depth: int, token: int) -> int:
        return depth + (token == OPEN) - (token == CLOSE)


def balanced(tokens: Sequence[int]) -> bool:
    """Whether every bracket of a text is closed, and none before it is opened."""
    depth = 0
    for token in tokens:
        depth += (token == OPEN) - (token == CLOSE)
        if depth < 0:
            return False
    return depth == 0
