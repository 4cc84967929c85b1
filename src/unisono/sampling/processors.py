"""User-defined logits processors, and a check that a processor is a pure function.

A pure function gives equal logits for equal arguments. Exact decoding needs pure functions, because proposals are
rolled back, and because a position may be processed once for each member. So a processor may be called with any tokens,
in any order, and more than once for a position.
"""

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from unisono.errors import RequestError, UnisonoError

Processor = Callable[[Tensor, Tensor], Tensor]  # (ids [1, n], logits [1, V]) -> logits [1, V], as in transformers

STATE = " when asked again about the same tokens: it keeps state from call to call"


class Watched:
    """A logits processor of one row, wrapped in a check that the processor keeps no state.

    The wrapper is called like the processor. The wrapper stores the arguments and the result of the first call. After
    1, 2, 4, 8, ... further calls, and at the end of the row, the wrapper repeats the first call and compares the
    results.
    """

    def __init__(self, process: Processor) -> None:
        self._process = process
        self._first: tuple[Tensor, Tensor, Tensor] | None = None  # ids, logits and result
        self._further = 0

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Return the processed logits [1, V] as a new tensor. The tensors `ids` and `logits` are not changed.

        Raises:
            RequestError: the processor raises an error, returns another shape, or returns another result when its first
                call is repeated.
        """
        answer = self._answer(ids, logits, "" if self._first is None else "; it must not depend on earlier calls")
        if self._first is None:
            self._first = ids, logits.clone(), answer
            return answer.clone()
        self._further += 1
        if self._further & (self._further - 1) == 0:
            self.check()
        return answer

    def check(self) -> None:
        """Repeat the first call of the processor; raise RequestError if the result differs or the processor fails."""
        if self._first is None:
            return
        ids, logits, answer = self._first
        again = self._answer(ids, logits, STATE)
        if torch.allclose(again, answer, rtol=0, atol=0, equal_nan=True):
            return
        before = _generators()
        self._answer(ids, logits, STATE)
        reason = "keeps state from call to call" if before == _generators() else "draws random numbers"
        raise RequestError(
            f"logits processor {self._name} {reason}: asked again about the same tokens, it gave another answer; make it "
            "a function of the tokens and logits it is given"
        )

    @property
    def _name(self) -> str:
        return getattr(self._process, "__qualname__", type(self._process).__name__)

    def _answer(self, ids: Tensor, logits: Tensor, circumstance: str) -> Tensor:
        try:
            found = self._process(ids.clone(), logits.clone())
        except UnisonoError:
            raise
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            raise RequestError(f"logits processor {self._name} raised {said}{circumstance}") from error
        if not isinstance(found, Tensor) or found.shape != logits.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise RequestError(
                f"logits processor {self._name} must return logits of shape {tuple(logits.shape)}, not: {shape}"
            )
        return found.to(logits.dtype, copy=True)  # a copy, since the processor may return the same tensor each time


def _generators() -> list[object]:
    """Return the states of the global random generators of Python, numpy and torch."""
    states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    return [random.getstate(), str(np.random.get_state()), *(state.tolist() for state in states)]  # noqa: NPY002
