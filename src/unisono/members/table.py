"""A member whose next-token distributions are a float64 table, for tests, documentation and exact checks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unisono.members.base import Scores, Work
from unisono.members.tokens import Append, TokenMember


class TableMember(TokenMember):
    """A member that is a Markov chain of order one: the next token depends on the last token only.

    Args:
        laws: [V, V], probabilities. Row t is the distribution of the token that follows token t. Zeros are allowed.
        name, parameters, context_length: as in `Member`.
    """

    device = "cpu"
    end_ids: frozenset[int] = frozenset()

    def __init__(
        self, laws: Tensor, name: str = "table", parameters: int = 1, context_length: int | None = None
    ) -> None:
        super().__init__()
        self._logits = torch.as_tensor(laws, dtype=torch.float64).log()
        self.name = name
        self.parameters = parameters
        self.context_length = context_length
        self.vocabulary = self._logits.shape[-1]

    @classmethod
    def random(cls, vocabulary: int, seed: int, name: str = "table", parameters: int = 1) -> "TableMember":
        """Return a member with a random table. Each row is drawn from the uniform (flat) Dirichlet distribution."""
        generator = torch.Generator().manual_seed(seed)
        weights = -torch.rand(vocabulary, vocabulary, generator=generator, dtype=torch.float64).log()
        return cls(weights / weights.sum(-1, keepdim=True), name, parameters)

    @property
    def keeps(self) -> bool:
        return False

    @property
    def facts(self) -> Mapping[str, str]:
        return {"architecture": "table"}

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        self.vocabulary = vocabulary
        self._logits = self._logits[:, :vocabulary].clone()
        self._logits[:, list(forbidden)] = -torch.inf

    def memory(self, slots: int, places: int) -> int:
        return 8 * slots * places

    def score(self, work: Sequence[Work]) -> list[Scores]:
        return [Scores(self._scored(self._append(item))) for item in work]

    def _scored(self, item: Append) -> Tensor:  # [keep, V]
        tokens = [int(token) for token in item.tokens]
        self._slots[item.slot].extend(tokens)
        return self._logits[torch.tensor(tokens[len(tokens) - item.keep :]).long()]

    def law(self, prefix: Sequence[int]) -> Tensor:
        """Return the exact distribution [V] of the token after `prefix`."""
        return self._logits[prefix[-1]].exp()
