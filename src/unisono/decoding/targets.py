"""The target laws of open positions, and early decisions before all needed members have scored.

Rows with the same combination and warp are evaluated together. A check for early decisions costs one more wait for a
device. So only combinations that have a `certainty` are checked.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor

from unisono.combine.base import target_law
from unisono.decoding.laws import KeptScores, Span, cells, log_probabilities, read, read_raw
from unisono.decoding.overlaps import measured
from unisono.decoding.row import Row
from unisono.errors import ConfigurationError
from unisono.frozen import quick
from unisono.sampling.warp import Warp
from unisono.transfer import fetch, token_tensor

T = TypeVar("T")
MOST = 2**25  # the maximum number of logits per member that are combined at once


@dataclass(frozen=True)
class Unsure:
    """Consecutive open positions of one row. At least one needed member has not scored these positions.

    heard: the members that have scored these positions.
    """

    row: Row
    first: int
    count: int
    heard: tuple[int, ...]

    @property
    def span(self) -> Span:
        return Span(self.row.laws, range(self.first, self.first + self.count))


def look(rows: Sequence[Row]) -> None:
    """Find open positions that can be decided before all needed members have scored. Record them in `row.needs`."""
    groups: dict[object, list[Unsure]] = {}
    early = [row for row in rows if row.needs.certainty is not None and not row.finished]
    for each in [each for row in early for each in _unsure(row)]:
        row = each.row
        key = (row.method.combination, row.laws.key, row.method.verification.tokenwise, each.heard)
        groups.setdefault(key, []).append(each)
    for group in groups.values():
        _learn(group)


def _learn(group: Sequence[Unsure]) -> None:
    """Check whether these positions can be decided. If the check of one row raises an error, only this row ends."""
    rows = list(dict.fromkeys(each.row for each in group))
    try:
        _look(group)
    except Exception as error:
        if len(rows) == 1:
            rows[0].fail(error)
        else:
            for row in rows:
                _learn([each for each in group if each.row is row])


def _unsure(row: Row) -> list[Unsure]:
    found: list[Unsure] = []
    for offset, heard in row.needs.unsure():
        last = found[-1] if found else None
        if last is not None and last.heard == heard and last.first + last.count == offset:
            found[-1] = Unsure(row, last.first, last.count + 1, heard)
        else:
            found.append(Unsure(row, offset, 1, heard))
    return found


def _look(group: Sequence[Unsure]) -> None:
    row, spans = group[0].row, [each.span for each in group]
    certainty = row.needs.certainty
    assert certainty is not None
    places = [(each.row, offset) for each in group for offset in each.span.offsets]
    positions, warp = read(spans, group[0].heard), row.laws.warp([offset for _, offset in places])
    flags = [certainty.fixed(positions, warp)]
    proposals = [row.frontier.proposals[at] if at < row.frontier.open else None for row, at in places]
    if row.method.verification.tokenwise and any(proposals):
        device = positions.scores[group[0].heard[0]].logits.device
        tokens = token_tensor([0 if each is None else each.token for each in proposals], device)
        laws = [None if each is None else each.law for each in proposals]
        given = torch.ones((), device=device)
        pairs = zip(laws, tokens, strict=True)
        chances = torch.stack([given if law is None else law.to(device)[token] for law, token in pairs])
        there = torch.tensor([each is not None for each in proposals], device=device)
        flags.append(certainty.certain(positions, warp, tokens, chances).to(device) & there)
    fixed, *certain = fetch([flag.long() for flag in flags])
    for place, (row, offset) in enumerate(places):
        row.needs.learn(offset, group[0].heard, bool(fixed[place]), any(answer[place] for answer in certain))


@quick
@dataclass(frozen=True)
class Known:
    """The known target laws at the first K open positions of a row.

    part: the target laws [N, V] of all rows that were computed together. first: the index of the row's first law in
    this tensor. count: K. plain: the laws [K, V] for log-probabilities, or None if the row reports no
    log-probabilities. measured: one tensor [N, 2] per member, with N <= K (see `measured`); empty if the policy does
    not measure.
    """

    row: Row
    part: Tensor
    first: int
    count: int
    plain: Tensor | None
    measured: Sequence[Tensor]

    @property
    def targets(self) -> Tensor:
        """The target laws of the row: [K, V]."""
        return self.part[self.first : self.first + self.count]


def known_laws(rows: Iterable[Row]) -> list[Known]:
    """Return the known target laws at the first open positions of each row.

    Rows with the same combination are computed together. If the combination, constraint or processor of a row raises an
    error, only this row ends.
    """
    return [
        known
        for group in alike(rows, lambda row: row.laws.target_key)
        for part in _parts(group)
        for known in _laws(part)
    ]


def alike(values: Iterable[T], key: Callable[[T], object]) -> list[list[T]]:
    """Return the values in groups with equal keys."""
    groups: dict[object, list[T]] = {}
    last: object = None
    for value in values:
        own = key(value)
        if not groups or (own is not last and own != last):  # comparing is faster than hashing
            last, group = own, groups.setdefault(own, [])
        group.append(value)
    return list(groups.values())


def _parts(rows: Sequence[Row]) -> Iterator[list[tuple[Row, int]]]:
    """Yield lists of pairs (row, number of known positions). A list of several rows has at most `MOST` logits."""
    part: list[tuple[Row, int]] = []
    size, vocabulary = 0, rows[0].vocabulary
    for row in rows:
        known = 0 if row.finished else row.known()
        more = known * vocabulary
        if part and size + more > MOST:
            yield part
            part, size = [], 0
        if more:
            part.append((row, known))
            size += more
    if part:
        yield part


def _laws(part: Sequence[tuple[Row, int]]) -> list[Known]:
    try:
        return _combined(part)
    except Exception as error:  # a user-defined combination or processor may raise anything
        if len(part) > 1:  # try each row alone
            return [known for each in part for known in _laws([each])]
        part[0][0].fail(error)
        return []


def _combined(part: Sequence[tuple[Row, int]]) -> list[Known]:
    row, sizes = part[0][0], [size for _, size in part]
    plain = None if row.task.logprobs is None else _reported(part)
    targets = plain if plain is not None and row.task.given else _targets(part)
    reported = [None] * len(part) if plain is None else plain.split_with_sizes(sizes)
    columns = zip(part, accumulate(sizes, initial=0), reported, measured(part, targets), strict=False)
    return [Known(row, targets, first, size, own, compared) for (row, size), first, own, compared in columns]


def _targets(part: Sequence[tuple[Row, int]]) -> Tensor:
    def computed(spans: Sequence[Span]) -> Tensor:
        row = part[0][0]
        if row.needs.draws:
            return _drawn_laws(part)
        positions = read(spans, row.needs.all)
        return _law(row, target_law(row.method.combination, positions, row.laws.warp(spans[0].offsets)))

    targets = _with_forced(part, computed)
    return _with_certain(part, targets) if part[0][0].needs.certainty is not None else targets


def _law(row: Row, law: Tensor) -> Tensor:
    if law.shape[-1] != row.vocabulary:
        name, shape = row.method.combination.name, tuple(law.shape)
        raise ConfigurationError(f"combination {name} must return a law of {row.vocabulary} tokens, not: {shape}")
    return law


def _with_forced(part: Sequence[tuple[Row, int]], computed: Callable[[Sequence[Span]], Tensor]) -> Tensor:
    """Return one tensor [sum of sizes, V]. Forced positions have one-hot laws. `computed` returns all other laws."""
    if part[0][0].frontier.constraint is None:  # a row with a constraint is alone in its part
        return computed([Span(row.laws, range(size)) for row, size in part])
    forced = [row.frontier.forced(offset) for row, size in part for offset in range(size)]
    spans = [
        Span(row.laws, [offset for offset in range(size) if not row.frontier.forced(offset)]) for row, size in part
    ]
    spans = [span for span in spans if span.offsets]
    laws = computed(spans) if spans else None
    tokens = [
        row.frontier.proposals[each].token for row, size in part for each in range(size) if row.frontier.forced(each)
    ]
    some = torch.zeros(1, part[0][0].vocabulary) if laws is None else laws[:1]
    found = some.new_zeros(len(forced), some.shape[-1])
    places = torch.tensor(forced, device=some.device)
    found[places, token_tensor(tokens, some.device)] = 1
    if laws is not None:
        found[~places] = laws
    return found


def _with_certain(part: Sequence[tuple[Row, int]], targets: Tensor) -> Tensor:
    """Return the targets. The target of a certain proposal is the proposal's own law, so the proposal is accepted."""
    start, copied = 0, False
    for row, size in part:
        for offset in range(size):
            if not row.needs.unscored(offset):
                continue
            if not copied:  # the targets may be kept laws, which must not be changed
                targets, copied = targets.clone(), True
            proposal = row.frontier.proposals[offset]
            if proposal.law is not None:
                targets[start + offset] = proposal.law
            else:
                targets[start + offset] = 0
                targets[start + offset, proposal.token] = 1
        start += size
    return targets


def _reported(part: Sequence[tuple[Row, int]]) -> Tensor:
    """Return one tensor [sum of sizes, V] with the combination's laws, from which log-probabilities are reported."""
    row = part[0][0]
    combination, heard = row.method.combination, row.needs.all
    if row.task.processed:

        def processed(spans: Sequence[Span]) -> Tensor:
            return target_law(combination, read(spans, heard), row.laws.warp(spans[0].offsets))

        return _with_forced(part, processed)
    spans = [Span(row.laws, range(size)) for row, size in part]
    widened = combination.traits(row.task.warp).widened
    positions = read_raw(spans, heard, widened)
    return _law(row, target_law(combination, positions, Warp()))


def _drawn_laws(part: Sequence[tuple[Row, int]]) -> Tensor:
    found = []
    for row, size in part:
        for offset in range(size):
            if not row.frontier.forced(offset):
                found += cells([Span(row.laws, [offset])], row.needs.drawn(offset))
    return KeptScores(found).law


def likelihoods(known: Known, committed: Tensor) -> list[Tensor]:
    """Return one float64 tensor [K] per member: the member's raw log-probability of each committed token."""
    row = known.row
    if not row.laws.loglikelihood:
        return []
    return [log_probabilities(row.frontier.said[m][: known.count], committed) for m in row.lineup.combined]
