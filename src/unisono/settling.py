"""Settle: decide what can be decided, for all rows at once: their laws, a verification, one wait for the device."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from unisono.certainty import look
from unisono.combine.base import target_law
from unisono.confidence import surely
from unisono.errors import ConfigurationError
from unisono.row import Row
from unisono.task import Settled
from unisono.transfer import fetch, token_tensor
from unisono.verify import Block, Decisions
from unisono.warp import AnyWarp, Warp, largest

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


def settle(rows: Iterable[Row]) -> dict[Row, int]:
    """Decide the leading positions of each row whose targets are known; how many tokens each row committed.

    A row whose own combination or processor fails, fails alone.
    """
    rows = list(rows)
    look(rows)
    known = []
    for group in alike(rows, _law_key):
        for part in _parts(group):
            known += _laws(part)
    committed: dict[Row, int] = {}
    for row, settled in _decided(known):
        if row.finished:  # cancelled in the middle of this step
            continue
        try:
            committed[row] = row.settle(settled)
        except Exception as error:  # whoever takes the tokens may raise anything
            row.fail(error)
    return committed


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


def _overlaps(row: Row, targets: Tensor) -> list[Tensor]:
    """Per member [up to K, 2]: the chance that what it would propose stands, and how sure it is, if the row wants to know.

    Where a proposal is certain, its law stands for the target.
    """
    if not row.guide.curious(len(targets)):
        return []
    each = []
    for member in range(len(row.frontier.prompts)):
        scores = row.frontier.scores(member, len(targets))
        if scores:
            together = torch.stack(scores)
            laws = row.warp(0, len(scores))(together).to(targets.device)
            surest = surely(together, laws, row.task.warp.greedy).to(targets.device)
            each.append(torch.stack([torch.minimum(laws, targets[: len(scores)]).sum(-1), surest], -1))
        else:
            each.append(targets.new_empty(0, 2))
    return each


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
    combination, logits = rows[0].method.combination, _known_logits(rows, sizes)
    if rows[0].task.processed:
        return target_law(combination, logits, warp)
    return target_law(combination, combination.widened(logits), Warp())


def _drawn_logits(rows: Sequence[Row], sizes: Sequence[int]) -> Tensor:
    """Logits [sum of sizes, V] of the member drawn for each position."""
    each: list[Tensor] = []
    for row, size in zip(rows, sizes, strict=True):
        for offset in range(size):
            member = row.needs.drawn(offset)
            each.append(row.frontier.scores(member, size)[offset])
    device = each[0].device
    return torch.stack([logits.to(device) for logits in each])


def _known_logits(rows: Sequence[Row], sizes: Sequence[int]) -> list[Tensor]:
    """Per member, logits [sum of sizes, V]; where a member was not needed, another one's, which make no difference."""
    needed = rows[0].needs.all
    stacked: dict[int, Tensor] = {}
    for member in needed:
        each: list[Tensor] = []
        for row, size in zip(rows, sizes, strict=True):
            each += _filled(row, member, size)
        device = stacked[needed[0]].device if stacked else each[0].device
        stacked[member] = torch.stack([logits.to(device) for logits in each])
    some = stacked[needed[0]]
    return [stacked.get(member, some) for member in rows[0].combined]


def _filled(row: Row, member: int, size: int) -> list[Tensor]:
    """The member's logits at the first positions; of the first member that scored them where it has not."""
    scores = row.frontier.scores(member, size)
    for offset in range(len(scores), size):
        heard = next(other for other in row.needs.all if row.frontier.scored(other) > offset)
        scores.append(row.frontier.scores(heard, size)[offset])
    return scores


def _decided(known: Sequence[Known]) -> Iterator[tuple[Row, Settled]]:
    """What is decided about each row, by its verification; all of it is fetched at once."""
    groups: dict[str, list[Known]] = {}
    for each in known:
        groups.setdefault(each.row.method.verification.name, []).append(each)
    blocks = {name: [each.row.block(len(each.targets)) for each in group] for name, group in groups.items()}
    asked = [tensor for name, group in groups.items() for tensor in _questions(group, blocks[name])]
    answers = iter(fetch(asked))
    for name, group in groups.items():
        yield from zip([each.row for each in group], _answered(group, blocks[name], answers), strict=True)


def _questions(known: Sequence[Known], blocks: Sequence[Block]) -> list[Tensor]:
    """What the host wants to know of the blocks of one verification, in the order in which `_answered` reads it."""
    device = known[0].targets.device
    targets = torch.cat([each.targets.to(device) for each in known]) if len(known) > 1 else known[0].targets
    decisions = known[0].row.method.verification.decide(targets, blocks)
    # The softmax of impossible tokens only is nan throughout, so one entry tells
    asked = [decisions.accepted, decisions.tokens, targets[:, 0].isnan()]
    if not _on_host(blocks):
        asked.append(token_tensor([token for block in blocks for token in block.tokens], device))
    for index, (each, block) in enumerate(zip(known, blocks, strict=True)):
        if each.plain is not None:
            asked += _logprobs(each.plain, block, decisions, index, each.row.task.logprobs or 0)
        asked += each.overlaps
    return asked


def _logprobs(laws: Tensor, block: Block, decisions: Decisions, index: int, top: int) -> list[Tensor]:
    """Per known position of a block, log-probabilities [K] of what is committed there, and [K, top] with ids of the best."""
    places = torch.arange(block.known, device=laws.device)
    proposed = token_tensor([*block.tokens, *[0] * block.free], laws.device)
    accepted, follows = decisions.accepted[index].to(laws.device), decisions.tokens[index].to(laws.device)
    committed = torch.where(places == accepted, follows, proposed)
    logs = laws.log()
    return [logs.gather(-1, committed.unsqueeze(-1))[:, 0], *largest(logs, top)]


def _answered(known: Sequence[Known], blocks: Sequence[Block], answers: Iterator[list[Any]]) -> list[Settled]:
    accepted, follows, void = next(answers), next(answers), iter(next(answers))
    tokens = iter([token for block in blocks for token in block.tokens] if _on_host(blocks) else next(answers))
    settled = []
    for each, block, count, token in zip(known, blocks, accepted, follows, strict=True):
        drawn = count < block.known
        proposed, bad = list(islice(tokens, len(block.tokens))), list(islice(void, block.known))
        logprobs = _told(answers, count + drawn) if each.plain is not None else ()
        lawless = any(bad) if each.row.task.given else drawn and bad[count]
        overlaps = [next(answers)[: count + drawn] for _ in each.overlaps]
        settled.append(Settled(proposed, count, token if drawn else None, lawless, logprobs, overlaps))
    return settled


def _told(answers: Iterator[list[Any]], count: int) -> tuple[tuple[float, tuple[tuple[int, float], ...]], ...]:
    logs, values, ids = next(answers), next(answers), next(answers)
    pairs = [tuple(zip(*best, strict=True)) for best in zip(ids, values, strict=True)]
    possible = [tuple((token, value) for token, value in best if value > -torch.inf) for best in pairs]
    return tuple(zip(logs, possible, strict=True))[:count]


def _on_host(blocks: Sequence[Block]) -> bool:
    return all(isinstance(token, int) for block in blocks for token in block.tokens)
