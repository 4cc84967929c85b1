"""A user's logits processors, and whether they keep to what exact decoding needs: the same answer to the same question.

Proposals are rolled back, and several members ask about one position. So a processor is asked about any tokens, in any
order, and more than once.
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
    """A processor in one row; used like the processor itself.

    The row's first question and its answer are kept. The question is asked again after 1, 2, 4, 8, ... further ones, and
    when the row has ended.
    """

    def __init__(self, process: Processor) -> None:
        self._process = process
        self._first: tuple[Tensor, Tensor, Tensor] | None = None  # ids, logits and the answer
        self._further = 0

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Logits [1, V] -> logits [1, V] that are nobody else's. The arguments are not changed.

        Raises:
            RequestError: the processor fails, returns another shape, or answers its first question otherwise.
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
        """Ask the first question again.

        Raises:
            RequestError: the answer is another one, or the processor fails.
        """
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
        return found.to(logits.dtype, copy=True)  # the processor may return one and the same tensor each time


def _generators() -> list[object]:
    """The states of the random generators that all code shares."""
    states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    return [random.getstate(), str(np.random.get_state()), *(state.tolist() for state in states)]  # noqa: NPY002
