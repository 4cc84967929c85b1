"""Runs a grid, and keeps what was measured: an interrupted run goes on where it stopped.

For each case: members are loaded, a few texts are recorded for the predictions, the fastest of the fixed choices is
picked in a run of its own, and then everything is compared. The result file is written anew after each round of
interleaved runs, so that nothing is lost whatever happens.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unisono.bench import measure, members, peers, replay
from unisono.bench import prompts as texts
from unisono.bench.choice import BASELINE, Choice
from unisono.bench.grid import Case
from unisono.bench.measure import Cell, Run
from unisono.bench.provenance import provenance
from unisono.bench.timeline import timeline
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError
from unisono.params import SamplingParams

RECORDED = 6  # texts that predictions rest on
TIMELINE = 24  # tokens of the run that is watched
PICK, COMPARE = "pick", "compare"


@dataclass
class Book:
    """What was measured so far, and the file it is written to.

    document: the result. open: raw runs of the case that is being measured, by stage.
    """

    path: Path | None
    document: dict[str, Any]
    open: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write everything; a reader never sees half of it."""
        if self.path is None:
            return
        content = self.document | ({"open": self.open} if self.open else {})
        draft = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            os.replace(draft, self.path)
        except OSError as error:
            raise ConfigurationError(f"the result cannot be written: {self.path} ({error.strerror})") from None

    def runs(self, case: Case, stage: str) -> list[Run]:
        """The case's runs of a stage that were measured before an interruption."""
        if self.open.get("case") != case.name:
            self.open = {"case": case.name}
        return [Run(**each) for each in self.open.get(stage, [])]

    def keep(self, stage: str, runs: Sequence[Run]) -> None:
        self.open[stage] = [asdict(run) for run in runs]
        self.save()


def start(cases: Sequence[Case], path: Path | None, resume: bool, **facts: Any) -> Book:
    """An empty book, or with `resume` the one that an interrupted run of the same cases left.

    Raises:
        ConfigurationError: the file holds an unfinished run and `resume` is not asked for, or other cases.
    """
    grid = json.loads(json.dumps([case.as_dict() for case in cases]))
    document = {**provenance(), **facts, "complete": False, "grid": grid, "cases": {}, "cells": []}
    if path is None or not path.exists():
        if resume:
            raise ConfigurationError(f"there is nothing to resume: {path}; leave --resume out")
        return Book(path, document)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = {} if not resume else _refuse(path, str(error))
    unfinished = isinstance(found, dict) and found.get("complete") is False
    if not resume:
        return Book(path, document) if not unfinished else _refuse(path, "an unfinished run; go on with --resume")
    if not unfinished or found.get("grid") != grid:
        _refuse(path, "no unfinished run of this grid")
    rest = found.pop("open", {})
    return Book(path, found, rest)


def _refuse(path: Path, reason: str) -> Any:
    raise ConfigurationError(f"the output file holds {reason}; or remove it: {path}")


def check(cases: Sequence[Case], load: Callable[[Case], Ensemble]) -> None:
    """Whatever is wrong with any case is said before the first one is measured."""
    for case in cases:
        texts.read(case.prompts, case.count)
        ensemble, params = load(case), parameters(case)
        for choice in (each for group in case.choices() for each in group):
            if choice.peer:
                peers.missing(choice.schedule, ensemble.method(params).combination, len(ensemble.lineup.everyone))
            else:
                ensemble.method(params, **asked(case, choice))


def parameters(case: Case) -> SamplingParams:
    """Of every run of the case."""
    return SamplingParams(max_tokens=case.tokens, temperature=case.temperature, ignore_eos=True, seed=case.seed)


def asked(case: Case, choice: Choice) -> dict[str, Any]:
    """What a call is told of the method."""
    return {"verification": case.verification, **choice.overrides}


def runs_of(case: Case) -> int:
    """How many runs the case takes."""
    groups = -(-case.count // case.rows)
    choices, fixed = case.choices()
    picking = (1 + len(fixed)) * groups * max(1, case.repeats // 2) if fixed else 0
    return picking + (len(choices) + bool(fixed)) * groups * case.repeats


def run(
    book: Book,
    cases: Sequence[Case],
    load: Callable[[Case], Ensemble],
    tell: Callable[[Case, str], None] = lambda case, stage: None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure every case that the book does not hold; returns the document.

    Args:
        tell: called as a stage of a case begins. tick: after every run.
    """
    for case in cases:
        if case.name not in book.document["cases"]:
            _measure(book, case, load(case), tell, tick)
            book.open = {}
            book.save()
    if any(name.startswith("transformers:ensemble") for case in cases for name in case.peers):
        book.document["peer law"] = peers.share_of_law()
    book.document["complete"] = True
    book.save()
    return book.document


def _measure(
    book: Book, case: Case, ensemble: Ensemble, tell: Callable[[Case, str], None], tick: Callable[[], None]
) -> None:
    params = parameters(case)
    found = texts.read(case.prompts, case.count)
    choices, fixed = case.choices()
    facts: dict[str, Any] = {"names": ensemble.names, "skipped": _skipped(case, choices, ensemble, params)}
    choices = [choice for choice in choices if choice.label not in facts["skipped"]]
    tell(case, "recording")
    record = replay.record(ensemble, found[:RECORDED], replace(params, max_tokens=max(2, case.tokens)))
    facts |= {
        "acceptances": record.acceptances(),
        "seconds": [{str(width): spent for width, spent in price.items()} for price in record.price],
    }
    rows: list[dict[str, Any]] = []
    stages: list[tuple[str, list[Choice], int]] = [(COMPARE, choices, case.repeats)]
    if fixed:
        stages.insert(0, (PICK, [Choice(BASELINE), *fixed], max(1, case.repeats // 2)))
    for stage, listed, repeats in stages:
        tell(case, stage)
        runs = _staged(book, case, ensemble, stage, listed, repeats, tick)
        cells = measure.cells(runs, listed, ensemble.method(params).proposer)
        for cell, choice in zip(cells, listed, strict=True):
            rows.append(_row(case, stage, cell, _predicted(record, case, choice, cell)))
        if stage == PICK:
            best = max(cells[1:], key=lambda cell: cell.speedup).schedule
            facts["picked"] = best
            choices += [choice for choice in fixed if choice.label == best and choice not in choices]
        elif fixed and case.schedule:
            facts |= _against(runs, case.schedule[0], facts["picked"])
    if case.timeline:
        short = replace(params, max_tokens=min(TIMELINE, case.tokens))
        book.document["timeline"] = timeline(ensemble, found[0], short, **asked(case, Choice.parse(case.timeline)))
    if case.quality:
        facts["bits per byte"] = bits_per_byte(ensemble)
    book.document["cells"] += rows
    book.document["cases"][case.name] = case.as_dict() | facts


def _skipped(case: Case, choices: Sequence[Choice], ensemble: Ensemble, params: SamplingParams) -> dict[str, str]:
    combination = ensemble.method(params, schedule=BASELINE).combination
    reasons = {
        choice.label: peers.missing(choice.schedule, combination, len(ensemble.lineup.everyone))
        for choice in choices
        if choice.peer
    }
    return {label: reason for label, reason in reasons.items() if reason}


def _staged(
    book: Book,
    case: Case,
    ensemble: Ensemble,
    stage: str,
    choices: list[Choice],
    repeats: int,
    tick: Callable[[], None],
) -> list[Run]:
    """The stage's runs, those of before an interruption among them; kept after every round."""
    found = texts.read(case.prompts, case.count)
    groups = [found[first : first + case.rows] for first in range(0, len(found), case.rows)]
    runs = book.runs(case, stage)
    for _ in runs:
        tick()
    measured = measure.measure(
        ensemble, groups, parameters(case), choices, repeats, tuple(runs), verification=case.verification
    )
    try:
        for each in measured:
            runs.append(each)
            tick()
            if len(runs) % len(choices) == 0:
                book.keep(stage, runs)
    finally:
        book.keep(stage, runs)
    return runs


def _row(case: Case, stage: str, cell: Cell, replayed: float | None) -> dict[str, Any]:
    keys = ("members", "combine", "temperature", "verification", "prompts", "rows")
    about = case.as_dict()
    return (
        {"case": case.name, "stage": stage} | {key: about[key] for key in keys} | asdict(cell) | {"replayed": replayed}
    )


def _predicted(record: replay.Record, case: Case, choice: Choice, cell: Cell) -> float | None:
    """What the record promises for what the cell used; None where it cannot tell."""
    if case.rows > 1 or choice.peer or choice.schedule == "parallel":
        return None
    combination, schedule, verification = cell.uses.split(" ")
    if schedule.startswith("auto"):
        return None
    return replay.speedup(record, Choice(schedule, verification, combination))


def _against(runs: Sequence[Run], label: str, best: str) -> Mapping[str, float]:
    """The first choice against the picked one, measured beside each other."""
    mine, theirs = ([run for run in runs if run.choice == name] for name in (label, best))
    if not mine or not theirs:
        return {}
    gains = measure.ratios(mine, theirs)
    return {"over picked": measure.middle(gains), "over picked, low": measure.lower_bound(gains)}


def bits_per_byte(ensemble: Ensemble) -> float:
    """How well the ensemble's law fits the bundled texts, which no bundled model was trained on."""
    found = list(texts.PLAIN)
    scores = ensemble.logprobs([""] * len(found), found)
    return -sum(score.total for score in scores) / math.log(2) / sum(len(text.encode()) for text in found)


def loader(sources: Sequence[object] = (), **options: Any) -> Callable[[Case], Ensemble]:
    """Loads the members of cases, or these instead; cases with the same ones share them."""
    latest: dict[tuple[Any, ...], Ensemble] = {}

    def load(case: Case) -> Ensemble:
        key = (case.members, case.compile)
        if key not in latest:
            latest.clear()
            chosen = {**options, "compile": options.get("compile") or case.compile}
            latest[key] = members.load(sources or case.members, **chosen)
        loaded = latest[key]
        return Ensemble(loaded.lineup, loaded.prompts, case.combine, "auto", case.verification, case.rows)

    return load
