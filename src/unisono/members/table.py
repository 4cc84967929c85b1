"""A member whose law is a table: exact, instant, float64. For tests, documentation and exact laws."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unisono.members.base import Work


class TableMember:
    """A Markov chain of order one: the law of the next token given the last.

    Args:
        laws: [V, V] probabilities; row t is the law after token t. Zeros are allowed.
        name, parameters, context: as in `Member`.
    """

    def __init__(self, laws: Tensor, name: str = "table", parameters: int = 1, context: int | None = None) -> None:
        self._logits = torch.as_tensor(laws, dtype=torch.float64).log()
        self._slots: dict[int, list[int]] = {}
        self._opened = 0
        self.name = name
        self.parameters = parameters
        self.context = context
        self.vocabulary = self._logits.shape[-1]

    @classmethod
    def random(cls, vocabulary: int, seed: int, name: str = "table", parameters: int = 1) -> "TableMember":
        """Rows drawn from a flat Dirichlet law: unequal members for unequal seeds."""
        variates = torch.rand(
            vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        weights = -variates.log()
        return cls(weights / weights.sum(-1, keepdim=True), name, parameters)

    @property
    def keeps(self) -> bool:
        return False

    def memory(self, slots: int, tokens: int) -> int:
        return 8 * slots * tokens

    def open(self) -> int:
        self._opened += 1
        self._slots[self._opened] = []
        return self._opened

    def fork(self, slot: int) -> int:
        copy = self.open()
        self._slots[copy] = list(self._slots[slot])
        return copy

    def close(self, slot: int) -> None:
        self._slots.pop(slot, None)

    def length(self, slot: int) -> int:
        return len(self._slots[slot])

    def rewind(self, slot: int, length: int) -> None:
        del self._slots[slot][length:]

    def score(self, work: Sequence[Work]) -> list[Tensor]:
        return [self._scored(item.slot, [int(token) for token in item.tokens], item.keep) for item in work]

    def _scored(self, slot: int, tokens: Sequence[int], keep: int) -> Tensor:
        self._slots[slot].extend(tokens)
        return self._logits[torch.tensor(tokens[len(tokens) - keep :]).long()]

    def law(self, prefix: Sequence[int]) -> Tensor:
        """The exact law [V] of the token after `prefix`, for brute-force references."""
        return self._logits[prefix[-1]].exp()
