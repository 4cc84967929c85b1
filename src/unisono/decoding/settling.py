"""Settle: decide what can be decided, for all rows at once: their laws, a verification, one wait for the device."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from unisono.decoding.row import Row
from unisono.decoding.spec import Settled
from unisono.decoding.targets import Known, known_laws, look
from unisono.decoding.verification import Block, Decisions
from unisono.sampling.warp import largest
from unisono.transfer import fetch, token_tensor


def settle(rows: Iterable[Row]) -> dict[Row, int]:
    """Decide the leading positions of each row whose targets are known; how many tokens each row committed.

    A row whose own combination or processor fails, fails alone.
    """
    rows = list(rows)
    look(rows)
    known = known_laws(rows)
    committed: dict[Row, int] = {}
    for row, settled in _decided(known):
        if row.finished:  # cancelled in the middle of this step
            continue
        try:
            committed[row] = row.settle(settled)
        except Exception as error:  # whoever takes the tokens may raise anything
            row.fail(error)
    return committed


def _decided(known: Sequence[Known]) -> Iterator[tuple[Row, Settled]]:
    """What is decided about each row, by its verification; all of it is fetched at once."""
    groups: dict[str, list[Known]] = {}
    for each in known:
        groups.setdefault(each.row.method.verification.name, []).append(each)
    blocks: dict[str, list[Block]] = {}
    asked: list[Tensor] = []
    for name, group in groups.items():
        blocks[name] = [each.row.block(len(each.targets)) for each in group]
        asked += _questions(group, blocks[name])
    answers = iter(fetch(asked))
    for name, group in groups.items():
        rows = [each.row for each in group]
        yield from zip(rows, _answered(group, blocks[name], answers), strict=True)


def _questions(known: Sequence[Known], blocks: Sequence[Block]) -> list[Tensor]:
    """What the host wants to know of the blocks of one verification, in the order in which `_answered` reads it."""
    targets = known[0].targets
    device = targets.device
    if len(known) > 1:
        targets = torch.cat([each.targets.to(device) for each in known])
    decisions = known[0].row.method.verification.decide(targets, blocks)
    # The softmax of impossible tokens only is nan throughout, so one entry tells
    asked = [decisions.accepted, decisions.tokens, targets[:, 0].isnan()]
    if not _on_host(blocks):
        proposed = [token for block in blocks for token in block.tokens]
        asked.append(token_tensor(proposed, device))
    for index, (each, block) in enumerate(zip(known, blocks, strict=True)):
        if each.plain is not None:
            asked += _logprobs(each.plain, block, decisions, index, each.row.task.logprobs or 0)
        asked += each.overlaps
    return asked


def _logprobs(laws: Tensor, block: Block, decisions: Decisions, index: int, top: int) -> list[Tensor]:
    """Per known position of a block, log-probabilities [K] of what is committed there, and [K, top] with ids of the best."""
    places = torch.arange(block.known, device=laws.device)
    proposed = token_tensor([*block.tokens, *[0] * block.free], laws.device)
    accepted = decisions.accepted[index].to(laws.device)
    follows = decisions.tokens[index].to(laws.device)
    committed = torch.where(places == accepted, follows, proposed)
    logs = laws.log()
    chosen = logs.gather(-1, committed.unsqueeze(-1))[:, 0]
    return [chosen, *largest(logs, top)]


def _answered(known: Sequence[Known], blocks: Sequence[Block], answers: Iterator[list[Any]]) -> list[Settled]:
    accepted, follows, void = next(answers), next(answers), iter(next(answers))
    tokens = iter([token for block in blocks for token in block.tokens] if _on_host(blocks) else next(answers))
    settled = []
    for each, block, count, token in zip(known, blocks, accepted, follows, strict=True):
        drawn = count < block.known
        proposed = list(islice(tokens, len(block.tokens)))
        bad = list(islice(void, block.known))
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
