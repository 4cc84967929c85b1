"""Forward passes: select the members and rows of each pass, run it, and give the scores to the rows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch

from unisono.decoding.row import Row
from unisono.errors import MemberError
from unisono.frozen import quick
from unisono.members.base import Member, Scores, Work
from unisono.members.lineup import Lineup

Wanted = list[tuple[Row, int]]  # rows, each with the index of a member that scores it


class Progress(IntEnum):
    """The result of a forward pass for a row. If several passes of a step read one row, the largest value is used."""

    NOTHING = 0  # all open positions were scored before
    SCORED = 1  # all open positions are scored now
    UNFINISHED = 2  # only a part of the unread tokens was read, and no open position was scored


@quick
@dataclass(frozen=True)
class Pass:
    """One forward pass.

    jobs: triples of a row, the index of a member, and the member's work for this row. scores: the result of each job.
    started: the time at the beginning, as returned by `time.perf_counter`. seconds: the duration.
    """

    jobs: Sequence[tuple[Row, int, Work]] = ()
    scores: Sequence[Scores] = ()
    started: float = 0.0
    seconds: float = 0.0

    def facts(self) -> tuple[Any, ...]:
        """Return the fields of the event `Forward`."""
        members = tuple(dict.fromkeys([index for _, index, _ in self.jobs]))
        rows = len({row for row, _, _ in self.jobs})
        read = [work.read + len(work.tokens) for _, _, work in self.jobs]
        widest = max(*read, *[work.keep for _, _, work in self.jobs])
        return members, rows, widest, sum(read), self.seconds, self.started

    def keep(self) -> dict[Row, Progress]:
        """Add the scores to the rows. Return the progress of each row."""
        made: dict[Row, Progress] = {}
        seconds = self.seconds / max(1, len(self.jobs))
        for (row, index, work), scores in zip(self.jobs, self.scores, strict=True):
            row.add_scores(index, scores, seconds)
            progress = Progress.SCORED if work.keep else Progress.UNFINISHED
            made[row] = max(made[row], progress) if row in made else progress
        return made


def jobs_by_weights(lineup: Lineup, members: Sequence[int], rows: Sequence[Row], twins: bool) -> list[Wanted]:
    """Return one list for each set of weights. A list has pairs (row, index of a member that scores the row).

    Args:
        twins: whether to add also the twins of the members, which have the same weights. A twin is added only for rows
            that need the twin's scores at the first open position.
    """
    groups = dict.fromkeys(lineup.together(member) if twins else (member,) for member in members)
    return [
        [(row, member) for member in group for row in rows if member in members or row.lacks(member)]
        for group in groups
    ]


def forward(lineup: Lineup, wanted: Wanted) -> Pass:
    """Run one forward pass of a member, or of twins, on the unread tokens of the rows.

    If the pass raises an error, all these rows end with this error. Different threads may run passes of different
    weights at the same time.
    """
    jobs = [(row, index, work) for row, index in wanted if (work := row.work(index)) is not None]
    if not jobs:
        return Pass()
    started = time.perf_counter()
    works, member = [work for *_, work in jobs], lineup.members[jobs[0][1]]
    try:
        scores = member.score(works)
        _require_scores(member, works, scores)
    except Exception as error:
        for row, *_ in jobs:
            row.fail(error)
        return Pass()
    return Pass(jobs, scores, started, time.perf_counter() - started)


def _require_scores(member: Member, work: Sequence[Work], scores: Sequence[Scores]) -> None:
    """Raise MemberError if the shapes or types of the scores do not fit the work."""
    wanted = [(item.keep, member.vocabulary) for item in work]
    found = [tuple(each.logits.shape) for each in scores]
    if found != wanted:
        raise MemberError(f"member {member.name} must return logits of the shapes {wanted}, not: {found}")
    if any(each.logits.dtype not in (torch.float32, torch.float64) for each in scores):
        raise MemberError(f"member {member.name} must return logits in float32 or float64")
    for item, each in zip(work, scores, strict=True):
        if not item.features:
            continue
        found_features = None if each.features is None else tuple(each.features.shape)
        if found_features != (item.keep, member.width):
            wanted_shape = (item.keep, member.width)
            raise MemberError(
                f"member {member.name} must return features of shape {wanted_shape}, not: {found_features}"
            )
