"""Settle: decide what can be decided, for all rows at once: their laws, a verification, one wait for the device."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from unisono.combine.base import target_law
from unisono.row import Row
from unisono.task import Settled
from unisono.transfer import fetch, token_tensor
from unisono.verify import Block, Decisions
from unisono.warp import Warp, largest

MOST = 2**25  # the most logits of a member that are combined in one go


@dataclass(frozen=True)
class Known:
    """A row and its target laws [K, V] at the first open positions; those for log-probabilities if it asked for them."""

    row: Row
    targets: Tensor
    plain: Tensor | None


def settle(rows: Iterable[Row]) -> dict[Row, int]:
    """Decide the leading positions of each row whose targets are known; how many tokens each row committed.

    A row whose own combination or processor fails, fails alone.
    """
    known = [each for group in alike(rows, _law_key) for part in _parts(group) for each in _laws(part)]
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
        more = row.known() * row.vocabulary
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
    logits = _known_logits(rows, sizes)
    combination, warp = row.method.combination, row.warp(0, sizes[0])
    if row.task.logprobs is None:
        targets = target_law(combination, logits, warp)
        return [Known(*each, None) for each in zip(rows, torch.split(targets, sizes), strict=True)]
    # Copies, and before the targets: a user's function may change what it is given
    plain = None if row.task.processed else target_law(combination, combination.widened(logits), Warp())
    targets = plain if plain is not None and row.task.given else target_law(combination, logits, warp)
    plain = targets if plain is None else plain
    return [Known(*each) for each in zip(rows, torch.split(targets, sizes), torch.split(plain, sizes), strict=True)]


def _known_logits(rows: Sequence[Row], sizes: Sequence[int]) -> list[Tensor]:
    """Per member, logits [sum of sizes, V]; an unneeded member's place holds a needed one's, and is not read."""
    needed = rows[0].needed
    stacked = {
        member: torch.stack(
            [each for row, size in zip(rows, sizes, strict=True) for each in row.frontier.scores(member, size)]
        )
        for member in needed
    }
    some = stacked[needed[0]]
    return [stacked.get(member, some).to(some.device) for member in range(len(rows[0].frontier.prompts))]


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
    accepted, follows, lawless = next(answers), next(answers), iter(next(answers))
    tokens = iter([token for block in blocks for token in block.tokens] if _on_host(blocks) else next(answers))
    settled = []
    for each, block, count, token in zip(known, blocks, accepted, follows, strict=True):
        drawn = count < block.known
        proposed, bad = list(islice(tokens, len(block.tokens))), list(islice(lawless, block.known))
        logprobs = _told(answers, count + drawn) if each.plain is not None else ()
        settled.append(Settled(proposed, count, token if drawn else None, drawn and bad[count], logprobs))
    return settled


def _told(answers: Iterator[list[Any]], count: int) -> tuple[tuple[float, tuple[tuple[int, float], ...]], ...]:
    logs, values, ids = next(answers), next(answers), next(answers)
    pairs = [tuple(zip(*best, strict=True)) for best in zip(ids, values, strict=True)]
    possible = [tuple((token, value) for token, value in best if value > -torch.inf) for best in pairs]
    return tuple(zip(logs, possible, strict=True))[:count]


def _on_host(blocks: Sequence[Block]) -> bool:
    return all(isinstance(token, int) for block in blocks for token in block.tokens)
