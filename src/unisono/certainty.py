"""What is certain before everybody has scored: laws that nobody can change any more, proposals nobody can have rejected.

One evaluation for all rows that are combined and warped alike and have heard the same members. It costs one more wait
for a device, and only where a combination can be certain of anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, Heard
from unisono.row import Row
from unisono.transfer import fetch, token_tensor
from unisono.warp import AnyWarp


@dataclass(frozen=True)
class Span:
    """Neighbouring open positions of a row that the same members have scored, not all that are needed."""

    row: Row
    first: int
    count: int
    heard: tuple[int, ...]

    def logits(self, member: int) -> list[Tensor]:
        return self.row.frontier.scores(member, self.first + self.count)[self.first :]

    def proposed(self) -> int:
        """How many of the positions have a proposal."""
        return max(0, min(self.count, self.row.frontier.open - self.first))


def look(rows: Sequence[Row]) -> None:
    """Tell each row which of its open positions have become certain."""
    groups: dict[object, list[Span]] = {}
    for span in [span for row in rows for span in _spans(row)]:
        row = span.row
        groups.setdefault((row.method.combination, row.warp_key(), _tokenwise(row), span.heard), []).append(span)
    for spans in groups.values():
        try:
            _look(spans)
        except Exception as error:  # rows with processors of their own are groups of their own
            for span in spans:
                span.row.fail(error)


def _spans(row: Row) -> list[Span]:
    if row.finished or not row.needs.may_know_early:
        return []
    spans: list[Span] = []
    for offset, heard in row.needs.unsure():
        last = spans[-1] if spans else None
        if last is not None and last.heard == heard and last.first + last.count == offset:
            spans[-1] = Span(row, last.first, last.count + 1, heard)
        else:
            spans.append(Span(row, offset, 1, heard))
    return spans


def _tokenwise(row: Row) -> bool:
    return row.method.verification.tokenwise


def _look(spans: Sequence[Span]) -> None:
    row = spans[0].row
    combination, warp = row.method.combination, row.warp(spans[0].first, spans[0].count)
    heard = _heard(spans)
    flags = [combination.fixed(heard, warp)]
    if _tokenwise(row) and any(span.proposed() for span in spans):
        flags.append(_certain(spans, combination, heard, warp))
    answers = fetch([flag.long() for flag in flags])
    at = 0
    for span in spans:
        for offset in range(span.first, span.first + span.count):
            span.row.needs.learn(offset, span.heard, bool(answers[0][at]), any(answer[at] for answer in answers[1:]))
            at += 1


def _heard(spans: Sequence[Span]) -> Heard:
    stacked = {
        member: torch.stack([each for span in spans for each in span.logits(member)]) for member in spans[0].heard
    }
    device = stacked[spans[0].heard[0]].device
    return [stacked[member].to(device) if member in stacked else None for member in spans[0].row.combined]


def _certain(spans: Sequence[Span], combination: Combination, heard: Heard, warp: AnyWarp) -> Tensor:
    """Positions whose proposal stands in any case; those without one do not count."""
    some = next(logits for logits in heard if logits is not None)
    nothing = torch.zeros_like(some[0])
    proposals = [span.row.frontier.proposals[span.first : span.first + span.count] for span in spans]
    padded = [[*each, *[None] * (span.count - span.proposed())] for each, span in zip(proposals, spans, strict=True)]
    flat = [proposal for each in padded for proposal in each]
    tokens = token_tensor([0 if proposal is None else proposal.token for proposal in flat], some.device)
    laws = torch.stack([nothing if proposal is None else proposal.law.to(some.device) for proposal in flat])
    there = torch.tensor([proposal is not None for proposal in flat], device=some.device)
    return combination.certain(heard, warp, tokens, laws).to(some.device) & there
