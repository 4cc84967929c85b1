"""The laws of open positions: targets of those that everybody has scored, and what is certain before everybody has.

Certain are laws that nobody can change any more, and proposals nobody can have rejected. One evaluation for all rows that
are combined and warped alike and have heard the same members. It costs one more wait for a device, and only where a
combination can be certain of anything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, Heard, target_law
from unisono.decoding.row import Row
from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp, Warp, surely
from unisono.transfer import fetch, token_tensor


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
    return [stacked[member].to(device) if member in stacked else None for member in spans[0].row.lineup.combined]


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


MOST = 2**25  # the most logits of a member that are combined in one go


@dataclass(frozen=True)
class Known:
    """A row and its target laws [K, V] at the first open positions; those for log-probabilities if it asked for them.

    overlaps: per member [up to K, 2], see `Settled`, if the row is curious.
    """

    row: Row
    targets: Tensor
    plain: Tensor | None
    overlaps: Sequence[Tensor] = ()


def known_laws(rows: Iterable[Row]) -> list[Known]:
    """The laws at the leading open positions of each row that are known; rows that are combined alike together.

    A row whose own combination or processor fails, fails alone.
    """
    return [known for group in alike(rows, _law_key) for part in _parts(group) for known in _laws(part)]


def alike(rows: Iterable[Row], key: Callable[[Row], object]) -> Iterator[list[Row]]:
    """Groups of rows with equal keys."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    yield from groups.values()


def _law_key(row: Row) -> object:
    task = row.task
    return row.method.combination, row.warp_key(), task.logprobs is not None, task.processed, bool(task.given)


def _parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in portions of at most `MOST` logits."""
    part: list[Row] = []
    size = 0
    for row in rows:
        more = 0 if row.finished else row.known() * row.vocabulary
        if part and size + more > MOST:
            yield part
            part, size = [], 0
        if more:
            part.append(row)
            size += more
    if part:
        yield part


def _laws(rows: Sequence[Row]) -> list[Known]:
    """The laws of rows with the same combination and warp."""
    try:
        return _combined(rows)
    except Exception as error:  # a user's combination or processor may raise anything
        if len(rows) > 1:  # whose fault is it? alone, the others may be fine
            return [known for row in rows for known in _laws([row])]
        rows[0].fail(error)
        return []


def _combined(rows: Sequence[Row]) -> list[Known]:
    row, sizes = rows[0], [row.known() for row in rows]
    warp = row.warp(0, sizes[0])
    plain = None if row.task.logprobs is None else _reported(rows, sizes, warp)
    targets = plain if plain is not None and row.task.given else _targets(rows, sizes, warp)
    if targets.shape != (sum(sizes), row.vocabulary):
        name, shape = row.method.combination.name, tuple(targets.shape)
        raise ConfigurationError(f"combination {name} must return a law of {row.vocabulary} tokens, not: {shape}")
    reported = [None] * len(rows) if plain is None else torch.split(plain, sizes)
    columns = zip(rows, torch.split(targets, sizes), reported, strict=True)
    return [Known(row, laws, plain, _overlaps(row, laws)) for row, laws, plain in columns]


def _targets(rows: Sequence[Row], sizes: Sequence[int], warp: AnyWarp) -> Tensor:
    """What tokens are drawn from: [sum of sizes, V]."""
    if rows[0].needs.draws:
        return warp(_drawn_logits(rows, sizes))
    targets = target_law(rows[0].method.combination, _known_logits(rows, sizes), warp)
    return _certainly(rows, sizes, targets) if rows[0].needs.may_know_early else targets


def _certainly(rows: Sequence[Row], sizes: Sequence[int], targets: Tensor) -> Tensor:
    """The targets, with what certain proposals were drawn from in their place, so that they are accepted."""
    start = 0
    for row, size in zip(rows, sizes, strict=True):
        for offset in range(size):
            if row.needs.unscored(offset):
                targets[start + offset] = row.frontier.proposals[offset].law
        start += size
    return targets


def _reported(rows: Sequence[Row], sizes: Sequence[int], warp: AnyWarp) -> Tensor:
    """What log-probabilities are of: the combination, whoever is drawn; [sum of sizes, V]."""
    combination = rows[0].method.combination
    if rows[0].task.processed:
        return target_law(combination, _known_logits(rows, sizes), warp)
    raw = rows[0].lineup.warps
    return target_law(combination, combination.widened(_known_logits(rows, sizes, raw)), Warp())


def _drawn_logits(rows: Sequence[Row], sizes: Sequence[int]) -> Tensor:
    """Logits [sum of sizes, V] of the member drawn for each position."""
    each: list[Tensor] = []
    for row, size in zip(rows, sizes, strict=True):
        for offset in range(size):
            member = row.needs.drawn(offset)
            each.append(row.frontier.scores(member, size)[offset])
    device = each[0].device
    return torch.stack([logits.to(device) for logits in each])


def _known_logits(rows: Sequence[Row], sizes: Sequence[int], raw: bool = False) -> list[Tensor]:
    """Per member, logits [sum of sizes, V]; where a member was not needed, another one's, which make no difference.

    Args:
        raw: those of the laws without a warp, of members that warp by themselves.
    """
    needed = rows[0].needs.all
    stacked: dict[int, Tensor] = {}
    for member in needed:
        each: list[Tensor] = []
        for row, size in zip(rows, sizes, strict=True):
            each += _filled(row, member, size, raw)
        device = stacked[needed[0]].device if stacked else each[0].device
        stacked[member] = torch.stack([logits.to(device) for logits in each])
    some = stacked[needed[0]]
    return [stacked.get(member, some) for member in rows[0].lineup.combined]


def _filled(row: Row, member: int, size: int, raw: bool) -> list[Tensor]:
    """The member's logits at the first positions; of the first member that scored them where it has not."""
    scores = _said(row, member, size, raw)
    for offset in range(len(scores), size):
        heard = next(other for other in row.needs.all if row.frontier.scored(other) > offset)
        scores.append(_said(row, heard, size, raw)[offset])
    return scores


def _said(row: Row, member: int, size: int, raw: bool) -> list[Tensor]:
    laws = row.frontier.raw(member, size) if raw else None
    return row.frontier.scores(member, size) if laws is None else [law.log() for law in laws]


def _overlaps(row: Row, targets: Tensor) -> list[Tensor]:
    """Per member [up to K, 2]: the chance that what it would propose stands, and how sure it is, if the row wants to know.

    Where a proposal is certain, its law stands for the target.
    """
    if not row.guide.curious(len(targets)):
        return []
    each = []
    for member in row.lineup.everyone:
        scores = row.frontier.scores(member, len(targets))
        if scores:
            together = torch.stack(scores)
            laws = row.warp(0, len(scores))(together).to(targets.device)
            surest = surely(together, laws, row.task.warp.greedy).to(targets.device)
            each.append(torch.stack([torch.minimum(laws, targets[: len(scores)]).sum(-1), surest], -1))
        else:
            each.append(targets.new_empty(0, 2))
    return each
