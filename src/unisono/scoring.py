"""Log-probabilities of given tokens under a combination: no sampling, one pass of every member."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unisono.combine.base import Combination, target_law
from unisono.members.base import Member, Work
from unisono.types import Score
from unisono.warp import Warp

CHUNK = 256  # tokens per forward: logits are [CHUNK, V]


@torch.inference_mode()
def score(
    members: Sequence[Member], combination: Combination, rows: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Score:
    """The target tokens' log-probabilities at temperature 1, without truncation.

    Args:
        rows: per member (context, target): at least one token of context, and the same target for all.
    """
    tokens = list(rows[0][1])
    values: list[float] = []
    greedy = True
    each = [_logits(member, context, target) for member, (context, target) in zip(members, rows, strict=True)]
    for logits in zip(*each, strict=True):
        law = target_law(combination, combination.widened([found.to(logits[0].device) for found in logits]), Warp())
        here = torch.tensor(tokens[len(values) : len(values) + len(law)], device=law.device)
        greedy = greedy and bool((law.argmax(-1) == here).all())
        values += law.gather(-1, here.unsqueeze(-1)).log().flatten().tolist()
    return Score(tuple(tokens), tuple(values), greedy)


def _logits(member: Member, context: Sequence[int], target: Sequence[int]) -> Iterator[Tensor]:
    """The member's logits in front of each target token, in blocks that are equal for all members."""
    slot = member.open()
    try:
        for start in range(0, len(context) - 1, CHUNK):
            member.score([Work(slot, context[start : min(start + CHUNK, len(context) - 1)], 0)])
        read = [context[-1], *target[:-1]]
        for start in range(0, len(read), CHUNK):
            chunk = read[start : start + CHUNK]
            yield from member.score([Work(slot, chunk, len(chunk))])
    finally:
        member.close(slot)
