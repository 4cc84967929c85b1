"""`unisono eval`: measure quality and cost of members and combinations on the same items."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unisono.bench.provenance import provenance
from unisono.cli.harness import OWN, draw, run_harness
from unisono.cli.loading import load_ensemble
from unisono.cli.options.eval import EvalOptions
from unisono.cli.options.load import LoadOptions
from unisono.cli.result_file import require_matplotlib, require_writable, write_json
from unisono.ensemble import Ensemble
from unisono.errors import RequestError, require_known
from unisono.evals.code import FIELDS, HumanEval
from unisono.evals.compare import Row, by_skill, compare
from unisono.evals.plot import plot
from unisono.evals.skills import Item, items
from unisono.evals.tasks import BitsPerByte, ExactMatch, Task
from unisono.evals.texts import halves, read_documents, read_records
from unisono.evals.tune import tune

PRESETS: dict[str, tuple[list[str], list[str]]] = {
    "skills": (
        ["zoo:skills-m", "zoo:skills-n"],
        ["weighted", "product", "cosd", "cascade:chow,0.3", "cascade:opt,0.3", "nudge:0.5", "gate:1,1"],
    )
}


def run(options: EvalOptions) -> None:
    """Run the task, print a table and write the files that the options name."""
    if options.plot:
        require_matplotlib("--plot")
    require_writable(options.output, options.plot)
    options = _completed(options)
    ensemble = load_ensemble(LoadOptions(options.members, source=options.source))
    for each in options.combine or ():
        ensemble.combination(each)  # all combinations are checked before the first combination is measured
    if options.task in OWN:
        _run_own(ensemble, options)
    else:
        _run_harness(ensemble, options)


def _completed(options: EvalOptions) -> EvalOptions:
    """Return the options. An option that the user did not set gets its value from the preset, or a default value."""
    preset = options.preset
    require_known("preset", [] if preset is None else [preset], PRESETS)
    if preset is None and options.task is None:
        raise RequestError(f"give a task: {', '.join(OWN)} or one of lm-evaluation-harness; or --preset skills")
    members, methods = PRESETS[preset] if preset else ([], ["weighted"])
    dtype = options.source.dtype or ("float32" if preset else None)  # float32 gives the same answers on every machine
    return replace(
        options,
        task=options.task or "skills",
        members=options.members or members,
        combine=options.combine or methods,
        source=replace(options.source, dtype=dtype),
    )


def _run_harness(ensemble: Ensemble, options: EvalOptions) -> None:
    name, combinations = str(options.task), options.combine or ()
    if options.tune or options.text or options.allow_code:
        raise RequestError(f"--tune, --text and --allow-code are for {', '.join(OWN)}; not for: {name!r}")
    folder = options.include_path
    report = run_harness(ensemble, name, combinations, options.schedule, options.limit, folder, _say)
    write_json(options.output, report)
    if options.plot:
        draw(report, options.plot)


def _run_own(ensemble: Ensemble, options: EvalOptions) -> None:
    name, schedule = str(options.task), options.schedule
    if options.include_path:
        raise RequestError(f"--include-path is for tasks of lm-evaluation-harness, not for {name}")
    if options.allow_code != (name == "humaneval"):
        raise RequestError(
            "humaneval runs code that a model wrote: it needs --allow-code; no other task takes this option"
        )
    development, test = _tasks(name, options.text or [], options.limit, options.seed, bool(options.tune))
    choices = {each: tune(ensemble, development, each, schedule, _say)[0] for each in options.tune or () if development}
    rows = compare(ensemble, test, [*(options.combine or ()), *choices.values()], schedule, _say)
    _show(rows, test)
    best = {each: {"best": found.name, "on": len(development or [])} for each, found in choices.items()}
    write_json(options.output, _report(ensemble, test, rows, schedule) | ({"tuned": best} if best else {}))
    if options.plot:
        plot(rows, f"{test.name}, {len(test)} items", test.unit, test.higher, options.plot)


def _say(what: str) -> None:
    """Print the name of the current step if standard error is a terminal."""
    console = Console(stderr=True)
    if console.is_terminal:
        console.print(f"  {what}", style="dim", highlight=False)


def _tasks(name: str, texts: Sequence[Path], limit: int, seed: int, tuned: bool) -> tuple[Task | None, Task]:
    """Return the task for tuning and the task for the test. The two tasks have no item in common.

    The task for tuning is None unless `tuned` is true.
    """
    if name == "skills":
        if texts:
            raise RequestError("skills makes its own items; --text is for bits-per-byte and exact-match")
        development = ExactMatch(items(max(64, limit // 4), seed, "development")) if tuned else None
        return development, ExactMatch(items(limit, seed))
    if not texts:
        raise RequestError(f"{name} needs --text FILE")
    make: Callable[[Sequence[Any]], Task] = BitsPerByte
    found: list[Any]
    if name == "humaneval":
        make, found = HumanEval, [record for path in texts for record in read_records(path, FIELDS)]
        keys = [problem["prompt"] for problem in found]
    elif name == "exact-match":
        records = [record for path in texts for record in read_records(path, ["prompt", "answer"], lines=["answer"])]
        make, found = partial(ExactMatch, name=name), [Item(**record, skills=("given",)) for record in records]
        keys = [record["prompt"] for record in records]
    else:
        keys = found = [document for path in texts for document in read_documents(path)]
    if not tuned:
        return None, make(found[:limit])
    some, others = halves(found, keys)
    return make(some[:limit]), make(others[:limit])


def _report(ensemble: Ensemble, task: Task, rows: Sequence[Row], schedule: str) -> dict[str, Any]:
    report: dict[str, Any] = {"provenance": provenance(), "task": task.name, "unit": task.unit, "items": len(task)}
    report |= {"members": ensemble.names, "schedule": schedule, "results": [row.as_dict() for row in rows]}
    if isinstance(task, ExactMatch) and task.name == "skills":
        report["by_skill"] = by_skill(task, rows)
    return report


def _show(rows: Sequence[Row], task: Task) -> None:
    table = Table("method", f"{task.unit} [95%]", "over the best member", "tokens/s", "forwards/token", box=None)
    for row in rows:
        speed = f"{row.tokens_per_second:.0f}" if row.tokens_per_second else "-"
        forwards = " ".join(f"{each:.3g}" for each in row.forwards_per_token) or "-"
        table.add_row(row.name, str(row.score), str(row.gain or "-"), speed, forwards)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(
        f"{task.name}: {len(task)} items, paired intervals of 95%", table, sep="\n"
    )
