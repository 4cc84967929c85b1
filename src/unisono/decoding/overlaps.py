"""Compare the members' laws with the target laws, for policies that measure.

Rows whose target laws were computed together are compared together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.decoding.frontier import joined
from unisono.decoding.laws import KeptScores, Span, cells
from unisono.decoding.row import Row


@dataclass(frozen=True)
class Asking:
    """A row whose policy measures.

    first: the index of the row's first target law. count: the number of positions to compare.
    """

    row: Row
    first: int
    count: int

    def scored(self, member: int) -> int:
        """Return the number of these positions that the member has scored."""
        return min(self.count, self.row.frontier.scored(member))


def measured(part: Sequence[tuple[Row, int]], targets: Tensor) -> list[Sequence[Tensor]]:
    """Return for each row one tensor [N, 2] per member, with N <= K, or () if the row's policy does not measure.

    The columns are the probability that the member's proposal is accepted, and the largest probability in the member's
    law. The tensor has one row for each position that the member has scored, up to the first forced position.
    """
    rows: list[Asking | None] = []
    first = 0
    for row, size in part:
        rows.append(_asking(row, first, size))
        first += size
    asking = [each for each in rows if each is not None]
    if not asking:
        return [()] * len(part)
    members = asking[0].row.lineup.everyone
    columns = [_compared(asking, member, targets) for member in members]
    compared = zip(*columns, strict=True)  # for each asking row, its tensors of all members
    return [() if each is None else next(compared) for each in rows]


def _asking(row: Row, first: int, size: int) -> Asking | None:
    count = size
    if row.frontier.constraint is not None:
        count = next((offset for offset in range(size) if row.frontier.forced(offset)), size)
    return Asking(row, first, count) if row.asked(lambda policy: policy.measures(count)) else None


def _compared(asking: Sequence[Asking], member: int, targets: Tensor) -> Sequence[Tensor]:
    """Compare a member's laws with the targets. Return one tensor [N, 2] per row (see `measured`)."""
    sizes = [each.scored(member) for each in asking]
    if not any(sizes):
        return [targets.new_empty(0, 2)] * len(asking)
    spans, places = [], []
    for each, size in zip(asking, sizes, strict=True):
        spans.append(Span(each.row.laws, range(size)))
        places += [(targets, place) for place in range(each.first, each.first + size)]
    kept = KeptScores(cells(spans, member), targets.device)
    law, wanted = kept.law, joined(places)
    if asking[0].row.task.warp.greedy:  # the law that proposals are drawn from is one-hot
        overlaps = wanted.gather(-1, kept.best().unsqueeze(-1))[:, 0]
    else:
        overlaps = torch.minimum(law, wanted).sum(-1)
    return torch.stack([overlaps, law.amax(-1)], -1).split_with_sizes(sizes)
