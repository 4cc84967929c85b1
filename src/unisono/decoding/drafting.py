"""Propose: a member drafts tokens for all rows that want some, without waiting for its device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unisono.decoding.row import Row
from unisono.decoding.targets import alike
from unisono.sampling.noise import Purpose
from unisono.sampling.sampler import draw
from unisono.transfer import known_tokens


def propose(index: int, drafts: dict[Row, int], score: Callable[[Sequence[Row]], Sequence[Row]]) -> None:
    """The member proposes so many tokens per row: the first from what it has scored, the rest one forward each.

    Args:
        score: runs the member on what the rows have proposed; returns those that it has scored then.
    """
    left = {row: count for row, count in drafts.items() if count > 0}
    while left:
        rows, laws = _willing(index, *_laws(index, list(left)))
        going_on = _draw(index, rows, laws) if rows else []
        unfinished = [row for row in going_on if left[row] > 1]
        scored = score(unfinished) if unfinished else []
        left = {row: left[row] - 1 for row in scored}


def _laws(index: int, rows: Sequence[Row]) -> tuple[list[Row], Tensor]:
    """The member's laws [R, V] behind the last proposals of the rows, without those whose own processor fails."""
    warped: list[Row] = []
    laws: list[Tensor] = []
    for group in alike(rows, lambda row: row.warp_key()):
        try:
            warp = group[0].warp(group[0].frontier.open, 1)
            laws.append(warp(torch.stack([row.frontier.law_source(index) for row in group])))
            warped += group
        except Exception as error:  # rows with processors of their own are groups of their own
            for row in group:
                row.fail(error)
    if not laws:
        return [], torch.empty(0)
    together = laws[0] if len(laws) == 1 else torch.cat(laws)
    # Edits may leave the proposer no token; any law will do to propose from, if it is the one that is kept
    return warped, together.nan_to_num(1 / together.shape[-1])


def _willing(index: int, rows: list[Row], laws: Tensor) -> tuple[list[Row], Tensor]:
    """Without the rows where the member's next proposal is not worth deciding."""
    places = [place for place, row in enumerate(rows) if row.starts(index, laws[place])]
    return (rows, laws) if len(places) == len(rows) else ([rows[place] for place in places], laws[places])


def _draw(index: int, rows: Sequence[Row], laws: Tensor) -> list[Row]:
    """Draw a proposal for each row; those behind which more is worth proposing."""
    purposes = {row.method.verification.proposing for row in rows}
    drawn = _drawn(rows, laws, purposes.pop()) if len(purposes) == 1 else _drawn_apart(rows, laws)
    going_on = []
    for row, token, law in zip(rows, known_tokens(drawn), laws, strict=True):
        ended = row.propose(index, token, law)
        if not ended:
            going_on.append(row)
    return going_on


def _drawn(rows: Sequence[Row], laws: Tensor, purpose: Purpose) -> Tensor:
    return draw(laws, purpose, [row.names() for row in rows])


def _drawn_apart(rows: Sequence[Row], laws: Tensor) -> Tensor:
    """Rows whose verifications want proposals of different kinds."""
    tokens = torch.empty(len(rows), dtype=torch.long, device=laws.device)
    for purpose in Purpose:
        group = [index for index, row in enumerate(rows) if row.method.verification.proposing is purpose]
        if group:
            places = torch.tensor(group, device=laws.device)
            tokens[places] = _drawn([rows[index] for index in group], laws[places], purpose)
    return tokens
