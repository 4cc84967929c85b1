"""A proposer of two tokens at once: it picks a pair from a joint law, and names the law that each token came from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unisono.decoding.proposals import Draft
from unisono.decoding.seat import Seat


class Pairs:
    """See the module.

    Args:
        joint: [V, V, V], behind each last token the law of the pairs.
    """

    name = "pairs"

    def __init__(self, joint: Tensor) -> None:
        self._joint = joint

    @classmethod
    def random(cls, vocabulary: int, seed: int = 0) -> "Pairs":
        """Return a proposer whose laws are random."""
        generator = torch.Generator().manual_seed(seed)
        masses = -torch.rand(vocabulary, vocabulary**2, generator=generator, dtype=torch.float64).log()
        return cls((masses / masses.sum(-1, keepdim=True)).view(vocabulary, vocabulary, vocabulary))

    def propose(self, seats: Sequence[Seat]) -> list[Draft | None]:
        return [self._draft(seat) for seat in seats]

    def _draft(self, seat: Seat) -> Draft:
        joint = self._joint[seat.tokens[-1]]
        first, second = divmod(seat.pick(joint.flatten()), len(joint))
        return Draft((first, second), (joint.sum(-1), self._second(joint, first)), self.name)

    def _second(self, joint: Tensor, first: int) -> Tensor:
        """Return the law of the second token, given the first one."""
        return joint[first] / joint[first].sum()
