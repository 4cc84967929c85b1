"""Measure the cases of a grid. Results are saved after each round of runs, so an interrupted run can be resumed.

Each case has four steps. First, the members are loaded. Second, a few texts are recorded for predictions. Third, a
separate stage finds the fastest of the fixed choices. Last, all choices are compared.
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

RECORDED = 6  # number of texts from which predictions are computed
TIMELINE = 24  # tokens of the run for the timeline
PICK, COMPARE = "pick", "compare"

Load = Callable[[Case], Ensemble]


@dataclass
class Book:
    """The results so far, and the file to which they are written.

    document: the content of the file.
    open: the name of the unfinished case under the key `case`, and the runs of this case by stage.
    """

    path: Path | None
    document: dict[str, Any]
    open: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write the results to the file. A reader of the file sees either the old or the new content.

        Raises:
            ConfigurationError: the file cannot be written.
        """
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


def start(cases: Sequence[Case], path: Path | None, resume: bool, **facts: Any) -> Book:
    """Return an empty book. With `resume`, return the saved book of an interrupted run of the same cases.

    Args:
        facts: more entries of the document.

    Raises:
        ConfigurationError: `resume` is true and the file has no unfinished run of these cases, or `resume` is false and
            the file has an unfinished run.
    """
    grid = json.loads(json.dumps([case.as_dict() for case in cases]))
    found = _unfinished(path) if path else None
    if not resume and not found:
        empty = {"complete": False, "grid": grid, "cases": {}, "cells": []}
        return Book(path, {**provenance(), **facts, **empty})
    if path is None or not path.exists():
        raise ConfigurationError(f"there is nothing to resume: {path}; leave --resume out")
    if not found or not resume or found["grid"] != grid:
        reason = "no unfinished run of this grid" if resume else "an unfinished run; go on with --resume"
        raise ConfigurationError(f"the output file holds {reason}; or remove it: {path}")
    return Book(path, found, found.pop("open", {}))


def _unfinished(path: Path) -> dict[str, Any] | None:
    """Return the content of the file if it has the results of an interrupted run, else None."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("complete") is False and "grid" in found else None


def check(cases: Sequence[Case], load: Load) -> None:
    """Load the prompts and members of all cases without measuring. Raise the first error."""
    for case in cases:
        texts.read(case.prompts, case.count)
        ensemble, params = load(case), parameters(case)
        for choice in (each for group in case.choices() for each in group):
            if choice.peer:
                peers.missing(choice.schedule, ensemble.method(params).combination, len(ensemble.lineup.everyone))
            else:
                ensemble.method(params, **asked(case, choice))


def parameters(case: Case) -> SamplingParams:
    """Return the sampling parameters for every run of the case."""
    return SamplingParams(max_tokens=case.tokens, temperature=case.temperature, ignore_eos=True, seed=case.seed)


def asked(case: Case, choice: Choice) -> dict[str, Any]:
    """Return the options of `Ensemble.generate` for a choice of the case."""
    return {"verification": case.verification, **choice.overrides}


def runs_of(case: Case) -> int:
    """Return the number of runs of the case."""
    choices, fixed = case.choices()
    picking = (1 + len(fixed)) * _picking(case) if fixed else 0
    return -(-case.count // case.rows) * (picking + (len(choices) + bool(fixed)) * case.repeats)


def _picking(case: Case) -> int:
    """Return the number of repeats in the stage that finds the fastest fixed choice."""
    return max(1, case.repeats // 2)


def run(
    book: Book,
    cases: Sequence[Case],
    load: Load,
    tell: Callable[[Case, str], None] = lambda case, stage: None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure every case that the book does not have yet. Return the document of the book.

    Args:
        tell: a function (case, stage) that is called at the start of each stage of a case.
        tick: a function that is called after every run.
    """
    for case in cases:
        if case.name not in book.document["cases"]:
            Measurement(book, case, load(case), tell, tick).run()
            book.open = {}
            book.save()
    if any(name.startswith("transformers:ensemble") for case in cases for name in case.peers):
        book.document["peer law"] = peers.share_of_law()
    book.document["complete"] = True
    book.save()
    return book.document


@dataclass(frozen=True)
class Measurement:
    """The measurement of one case. `tell` and `tick` have the same meaning as in the function `run`."""

    book: Book
    case: Case
    ensemble: Ensemble
    tell: Callable[[Case, str], None]
    tick: Callable[[], None]

    def run(self) -> None:
        """Measure the case. Add its cells and its facts to the document of the book."""
        case, ensemble, params = self.case, self.ensemble, parameters(self.case)
        prompts, (choices, fixed) = texts.read(case.prompts, case.count), case.choices()
        skipped = self._skipped(choices)
        choices = [choice for choice in choices if choice.label not in skipped]
        self.tell(case, "recording")
        record = replay.record(ensemble, prompts[:RECORDED], replace(params, max_tokens=max(2, case.tokens)))
        seconds = [{str(width): spent for width, spent in price.items()} for price in record.price]
        facts: dict[str, Any] = {"names": ensemble.names, "skipped": skipped}
        facts |= {"acceptances": record.acceptances(), "seconds": seconds}
        rows: list[dict[str, Any]] = []
        if fixed:
            cells, _ = self._stage(PICK, [Choice(BASELINE), *fixed], _picking(case), record, rows)
            facts["picked"] = max(cells[1:], key=lambda cell: cell.speedup).schedule
            choices += [each for each in fixed if each.label == facts["picked"] and each not in choices]
        _, runs = self._stage(COMPARE, choices, case.repeats, record, rows)
        if fixed and case.schedule:
            facts |= _over_picked(runs, case.schedule[0], facts["picked"])
        document = self.book.document
        if case.timeline:
            short = replace(params, max_tokens=min(TIMELINE, case.tokens))
            document["timeline"] = timeline(ensemble, prompts[0], short, **asked(case, Choice.parse(case.timeline)))
        if case.quality:
            facts["bits per byte"] = bits_per_byte(ensemble)
        document["cells"] += rows
        document["cases"][case.name] = case.as_dict() | facts

    def _skipped(self, choices: Sequence[Choice]) -> dict[str, str]:
        """Return why some choices are not measured, as a dict from the label of a choice to the reason.

        These choices use another library, and this library cannot decode the case.
        """
        combination = self.ensemble.method(parameters(self.case), schedule=BASELINE).combination
        everyone = len(self.ensemble.lineup.everyone)
        reasons = {each.label: peers.missing(each.schedule, combination, everyone) for each in choices if each.peer}
        return {label: reason for label, reason in reasons.items() if reason}

    def _stage(
        self, stage: str, choices: Sequence[Choice], repeats: int, record: replay.Record, rows: list[dict[str, Any]]
    ) -> tuple[list[Cell], list[Run]]:
        """Measure the choices and add one row per choice to `rows`. Return the cells and the runs."""
        self.tell(self.case, stage)
        runs = self._runs(stage, choices, repeats)
        cells = measure.cells(runs, choices, self.ensemble.method(parameters(self.case)).proposer)
        about = self.case.as_dict()
        shared = {key: about[key] for key in ("members", "combine", "temperature", "verification", "prompts", "rows")}
        for choice, cell in zip(choices, cells, strict=True):
            replayed = {"replayed": _replayed(record, self.case, choice, cell)}
            rows.append({"case": self.case.name, "stage": stage} | shared | asdict(cell) | replayed)
        return cells, runs

    def _runs(self, stage: str, choices: Sequence[Choice], repeats: int) -> list[Run]:
        """Return all runs of a stage. Runs from before an interruption are taken from the book instead of repeated."""
        case, book = self.case, self.book
        if book.open.get("case") != case.name:
            book.open = {"case": case.name}
        found: list[dict[str, Any]] = book.open.setdefault(stage, [])
        for _ in found:
            self.tick()
        prompts = texts.read(case.prompts, case.count)
        groups = [prompts[first : first + case.rows] for first in range(0, len(prompts), case.rows)]
        arguments = self.ensemble, groups, parameters(case), choices, repeats, [Run(**each) for each in found]
        try:
            for run in measure.measure(*arguments, verification=case.verification):
                found.append(asdict(run))
                self.tick()
                if len(found) % len(choices) == 0:
                    book.save()
        finally:
            book.save()
        return [Run(**each) for each in found]


def _replayed(record: replay.Record, case: Case, choice: Choice, cell: Cell) -> float | None:
    """Return the replayed speed-up of the method that the cell used.

    Return None if replay cannot predict the method.
    """
    if case.rows > 1 or choice.peer or choice.schedule == "parallel":
        return None
    combination, schedule, verification = cell.uses.split(" ")
    return None if schedule.startswith("auto") else replay.speedup(record, Choice(schedule, verification, combination))


def _over_picked(runs: Sequence[Run], label: str, picked: str) -> Mapping[str, float]:
    """Return a ratio and its lower bound.

    The ratio is the speed of the choice `label` divided by the speed of the choice `picked`.
    """
    mine, others = ([run for run in runs if run.choice == name] for name in (label, picked))
    if not mine or not others:
        return {}
    gains = measure.ratios(mine, others)
    return {"over picked": measure.middle(gains), "over picked, low": measure.lower_bound(gains)}


def bits_per_byte(ensemble: Ensemble) -> float:
    """Return the bits per byte of the ensemble's law on bundled texts. No bundled model was trained on these texts."""
    scores = ensemble.logprobs([""] * len(texts.PLAIN), list(texts.PLAIN))
    return -sum(score.total for score in scores) / math.log(2) / sum(len(text.encode()) for text in texts.PLAIN)


def loader(sources: Sequence[object] = (), **options: Any) -> Load:
    """Return a function that loads the ensemble of a case.

    If `sources` are given, they replace the members of the case. Consecutive cases with the same members share the
    loaded members.
    """
    latest: dict[tuple[Any, ...], Ensemble] = {}

    def load(case: Case) -> Ensemble:
        key = (case.members, case.compile)
        if key not in latest:
            latest.clear()  # frees the memory of the old members before the new members are loaded
            latest[key] = members.load(
                sources or case.members, **{**options, "compile": options.get("compile") or key[1]}
            )
        found = latest[key]
        return Ensemble(found.lineup, found.prompts, case.combine, "auto", case.verification, case.rows)

    return load
