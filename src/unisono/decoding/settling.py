"""Settle: decide what can be decided, for all rows at once: their laws, a verification, one wait for the device."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.decoding.row import Row
from unisono.decoding.spec import Settled
from unisono.decoding.targets import Known, known_laws, likelihoods, look
from unisono.decoding.verification import Block, Decisions, Verification
from unisono.sampling.warp import largest
from unisono.transfer import fetch_fields, token_tensor


def settle(rows: Iterable[Row]) -> dict[Row, int]:
    """Decide the leading positions of each row whose targets are known; return how many tokens each row committed.

    Where a constraint forces tokens behind those, they are decided too. A row whose own combination, constraint or
    processor fails, fails alone.
    """
    committed: dict[Row, int] = {}
    rows = list(rows)
    while rows:
        look(rows)
        for row, settled in _decided(known_laws(rows)):
            if row.finished:  # cancelled in the middle of this step
                continue
            try:
                committed[row] = committed.get(row, 0) + row.settle(settled)
            except Exception as error:  # a text or a constraint of a user may raise anything
                row.fail(error)
        rows = [row for row in rows if row.frontier.forced(0) and not row.finished and row.known()]
        for row in rows:
            row.next_names()
    return committed


@dataclass
class Outcome:
    """What the host has to know about the blocks that one verification decided: tensors first, then their values.

    accepted, follows: per block, see `Decisions`. lawless: whether the target at each known position is no law. proposed:
    the proposals, if some were on a device. logprobs, likelihoods, measured: per block what was asked for, see `Settled`.
    """

    accepted: Any
    follows: Any
    lawless: Any
    proposed: Any
    logprobs: list[Any]
    likelihoods: list[Any]
    measured: list[Any]


def _decided(known: Sequence[Known]) -> Iterator[tuple[Row, Settled]]:
    """What is decided about each row, by its verification; all of it is fetched at once."""
    groups: dict[Verification, list[Known]] = {}
    for each in known:
        groups.setdefault(each.row.method.verification, []).append(each)
    blocks = [[each.row.block(len(each.targets)) for each in group] for group in groups.values()]
    outcomes = fetch_fields([_outcome(*pair) for pair in zip(groups.values(), blocks, strict=True)])
    for group, own, outcome in zip(groups.values(), blocks, outcomes, strict=True):
        yield from _settled(group, own, outcome)


def _outcome(known: Sequence[Known], blocks: Sequence[Block]) -> Outcome:
    targets = known[0].targets
    device = targets.device
    if len(known) > 1:
        targets = torch.cat([each.targets.to(device) for each in known])
    decisions = known[0].row.method.verification.decide(targets, blocks)
    tokens = [token for block in blocks for token in block.tokens]
    outcome = Outcome(
        accepted=decisions.accepted,
        follows=decisions.tokens,
        lawless=targets[:, 0].isnan(),  # the softmax of impossible tokens only is nan throughout, so one entry tells
        proposed=tokens if all(isinstance(token, int) for token in tokens) else token_tensor(tokens, device),
        logprobs=[],
        likelihoods=[],
        measured=[each.measured for each in known],
    )
    for index, (each, block) in enumerate(zip(known, blocks, strict=True)):
        reads = bool(each.row.laws.loglikelihood)
        committed = _committed(block, decisions, index) if reads or each.plain is not None else None
        outcome.logprobs.append(_logprobs(each, committed))
        outcome.likelihoods.append([] if committed is None else likelihoods(each, committed))
    return outcome


def _committed(block: Block, decisions: Decisions, index: int) -> Tensor:
    """Return the token that is committed at each known position of a block: [K]."""
    device = decisions.accepted.device
    proposed = token_tensor([*block.tokens, *[0] * block.free], device)
    places = torch.arange(block.known, device=device)
    return torch.where(places == decisions.accepted[index], decisions.tokens[index], proposed)


def _logprobs(known: Known, committed: Tensor | None) -> list[Tensor]:
    """Per known position: log-probabilities [K] of what is committed there, and [K, top] with ids of the best tokens."""
    if known.plain is None or committed is None:
        return []
    logs = known.plain.log()
    chosen = logs.gather(-1, committed.to(logs.device).unsqueeze(-1))[:, 0]
    return [chosen, *largest(logs, known.row.task.logprobs or 0)]


def _settled(known: Sequence[Known], blocks: Sequence[Block], outcome: Outcome) -> Iterator[tuple[Row, Settled]]:
    tokens = positions = 0
    for index, (each, block) in enumerate(zip(known, blocks, strict=True)):
        accepted = outcome.accepted[index]
        drawn = accepted < block.known
        count = accepted + drawn
        lawless = outcome.lawless[positions : positions + block.known]
        settled = Settled(
            outcome.proposed[tokens : tokens + len(block.tokens)],
            accepted,
            outcome.follows[index] if drawn else None,
            any(lawless) if each.row.task.given else drawn and lawless[accepted],
            _told(outcome.logprobs[index], count),
            [values[:count] for values in outcome.measured[index]],
            [values[:count] for values in outcome.likelihoods[index]],
        )
        tokens, positions = tokens + len(block.tokens), positions + block.known
        yield each.row, settled


def _told(found: Sequence[Any], count: int) -> tuple[tuple[float, tuple[tuple[int, float], ...]], ...]:
    if not found:
        return ()
    logs, values, ids = found
    pairs = [tuple(zip(*best, strict=True)) for best in zip(ids, values, strict=True)]
    possible = [tuple((token, value) for token, value in best if value > -torch.inf) for best in pairs]
    return tuple(zip(logs, possible, strict=True))[:count]
