"""Settling: decide (accept or reject) open proposals of all rows together, with one wait for the device."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.decoding.blocks import Block, Decisions
from unisono.decoding.row import Row
from unisono.decoding.spec import Settled
from unisono.decoding.targets import Known, known_laws, likelihoods, look
from unisono.decoding.verification import Verification
from unisono.sampling.ranking import largest
from unisono.transfer import fetch_fields, token_tensor


def settle(rows: Iterable[Row]) -> dict[Row, int]:
    """Decide all open positions whose targets are known. Return the number of committed tokens for each row.

    Tokens that a constraint forces next are decided too. If the combination, constraint or processor of a row raises an
    error, only this row ends.
    """
    committed: dict[Row, int] = {}
    rows = list(rows)
    while rows:
        look(rows)
        for row, settled in _decided(known_laws(rows)):
            if row.finished:  # cancelled during this step
                continue
            try:
                committed[row] = committed.get(row, 0) + row.settle(settled)
            except Exception as error:  # the row's `take` or a user-defined constraint may raise anything
                row.fail(error)
        rows = [row for row in rows if row.frontier.forced(0) and not row.finished and row.known()]
        for row in rows:
            row.next_names()
    return committed


@dataclass
class Outcome:
    """The results of one verification for several blocks. The function `fetch_fields` replaces tensors by lists.

    accepted, follows: for each block, `accepted` and `tokens` of `Decisions`. lawless: for each known position, whether
    no token is possible. proposed: the proposals of all blocks. logprobs, likelihoods, measured: for each block, the
    requested values; see `Settled`.
    """

    accepted: Any
    follows: Any
    lawless: Any
    proposed: Any
    logprobs: list[Any]
    likelihoods: list[Any]
    measured: list[Any]


def _decided(known: Sequence[Known]) -> Iterator[tuple[Row, Settled]]:
    """Run the verifications of the rows, fetch all results together, and yield each row with its decisions."""
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
        lawless=targets[:, 0].isnan(),  # a softmax without possible tokens is nan everywhere: check one entry
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
    """Return a tensor [K] with the committed token at each known position. Entries after a drawn token are unused."""
    device = decisions.accepted.device
    proposed = token_tensor([*block.tokens, *[0] * block.free], device)
    places = torch.arange(block.known, device=device)
    return torch.where(places == decisions.accepted[index], decisions.tokens[index], proposed)


def _logprobs(known: Known, committed: Tensor | None) -> list[Tensor]:
    """Return three tensors, or an empty list if the row does not report log-probabilities.

    The tensors are the log-probabilities [K] of the committed tokens, and the log-probabilities [K, top] and ids
    [K, top] of the most probable tokens.
    """
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
