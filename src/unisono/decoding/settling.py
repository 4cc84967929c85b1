"""Settling: decide (accept or reject) open proposals of all rows together, with one wait for the device."""

from collections.abc import Iterable, Iterator, Sequence
from math import isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unisono.decoding.blocks import Block, Decisions
from unisono.decoding.row import Row
from unisono.decoding.spec import Settled
from unisono.decoding.targets import Known, alike, known_laws, likelihoods, look
from unisono.sampling.ranking import largest
from unisono.transfer import fetch_nested, token_tensor


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
        constrained = [row for row in rows if row.frontier.constraint is not None and not row.finished]
        rows = [row for row in constrained if row.frontier.forced(0) and row.known()]
        for row in rows:
            row.next_names()
    return committed


class Outcome(NamedTuple):
    """The results of one verification for several blocks. The function `fetch_nested` replaces tensors by lists.

    accepted, follows: for each block, `accepted` and `tokens` of `Decisions`. chances: for each known position, the
    probability of token 0, which is nan if no token is possible. proposed: the proposals of all blocks. logprobs,
    likelihoods, measured: for each block, the requested values; see `Settled`. Such a list is empty if no row requests
    the values.
    """

    accepted: Any
    follows: Any
    chances: Any
    proposed: Any
    logprobs: list[Any]
    likelihoods: list[Any]
    measured: list[Any]


def _decided(known: Sequence[Known]) -> Iterator[tuple[Row, Settled]]:
    """Run the verifications of the rows, fetch all results together, and yield each row with its decisions."""
    groups = alike(known, lambda each: each.row.method.verification)
    blocks = [[each.row.block(each.count) for each in group] for group in groups]
    outcomes = fetch_nested([_outcome(*pair) for pair in zip(groups, blocks, strict=True)])
    for group, own, outcome in zip(groups, blocks, outcomes, strict=True):
        yield from _settled(group, own, Outcome(*outcome))


def _outcome(known: Sequence[Known], blocks: Sequence[Block]) -> Outcome:
    targets = _all_targets(known)
    device = targets.device
    decisions = known[0].row.method.verification.decide(targets, blocks)
    tokens = [token for block in blocks for token in block.tokens]
    outcome = Outcome(
        accepted=decisions.accepted,
        follows=decisions.tokens,
        chances=targets[:, 0],  # a softmax without possible tokens is nan everywhere: one entry is enough
        proposed=tokens if all(isinstance(token, int) for token in tokens) else token_tensor(tokens, device),
        logprobs=[],
        likelihoods=[],
        measured=[each.measured for each in known] if any(each.measured for each in known) else [],
    )
    requested = any(each.plain is not None or each.row.laws.loglikelihood for each in known)
    for index, (each, block) in enumerate(zip(known, blocks, strict=True) if requested else ()):
        reads = bool(each.row.laws.loglikelihood)
        committed = _committed(block, decisions, index) if reads or each.plain is not None else None
        outcome.logprobs.append(_logprobs(each, committed))
        outcome.likelihoods.append([] if committed is None else likelihoods(each, committed))
    return outcome


def _all_targets(known: Sequence[Known]) -> Tensor:
    """Return the targets of all rows: [N, V]. They are not copied if they were computed together."""
    first = known[0].part
    if all(each.part is first for each in known) and sum(each.count for each in known) == len(first):
        return first
    return torch.cat([each.targets.to(first.device) for each in known])


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
        accepted, proposed = outcome.accepted[index], len(block.tokens)
        drawn = accepted < each.count
        count = accepted + drawn
        chances = outcome.chances[positions : positions + each.count]
        settled = Settled(
            outcome.proposed[tokens : tokens + proposed],
            accepted,
            outcome.follows[index] if drawn else None,
            isnan(sum(chances)) if each.row.task.given else drawn and isnan(chances[accepted]),
            _told(outcome.logprobs[index], count) if outcome.logprobs else (),
            [values[:count] for values in outcome.measured[index]] if outcome.measured else (),
            [values[:count] for values in outcome.likelihoods[index]] if outcome.likelihoods else (),
        )
        tokens, positions = tokens + proposed, positions + each.count
        yield each.row, settled


def _told(found: Sequence[Any], count: int) -> tuple[tuple[float, tuple[tuple[int, float], ...]], ...]:
    if not found:
        return ()
    logs, values, ids = found
    pairs = [tuple(zip(*best, strict=True)) for best in zip(ids, values, strict=True)]
    possible = [tuple((token, value) for token, value in best if value > -torch.inf) for best in pairs]
    return tuple(zip(logs, possible, strict=True))[:count]
