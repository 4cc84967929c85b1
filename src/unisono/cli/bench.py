"""`unisono bench`: compare ways to decode, or show how one way spends its time."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unisono.bench import grid, plots, prompts, report
from unisono.bench import run as runs
from unisono.bench.choice import Choice
from unisono.bench.grid import Case
from unisono.bench.profile import measure, table
from unisono.bench.provenance import provenance
from unisono.cli.loading import DEFAULT_MEMBERS, members_of, prepare_process, read_config
from unisono.cli.options.bench import BenchOptions, CaseOptions, refuse
from unisono.cli.result_file import require_matplotlib, require_writable, write, write_json
from unisono.cli.signature import given
from unisono.config import Config
from unisono.ensemble import Ensemble
from unisono.errors import RequestError
from unisono.params import SamplingParams

SAMPLING = {"temperature": "temperature", "max_tokens": "tokens", "seed": "seed"}  # parameter -> field of `Case`


def run(options: BenchOptions) -> None:
    """Measure or profile the choices, print tables and write the files that the options name."""
    prepare_process()
    if options.plots:
        require_matplotlib("--plots")
    require_writable(options.output, options.markdown, folder=options.plots)
    config = read_config(options.config)
    load = runs.loader([] if options.case.members else members_of(config, options.source), **given(options.source))
    cases = _cases(options, config)
    if options.profile:
        refuse(options, "--profile", ("preset", "grid", "peers", "markdown", "plots", "resume"))
        _profile(cases, load, options.output)
        return
    _measure(cases, load, options)


def _measure(cases: list[Case], load: Callable[[Case], Ensemble], options: BenchOptions) -> None:
    if options.plots and not (options.preset or options.grid):
        cases[0] = replace(cases[0], timeline=cases[0].schedule[0])
    runs.check(cases, load)
    document = _run(runs.start(cases, options.output, options.resume, preset=options.preset), cases, load)
    _show(document)
    if options.markdown:
        write(options.markdown, report.markdown(document))
    if options.plots:
        plots.draw(document, options.plots)


def _cases(options: BenchOptions, config: Config) -> list[Case]:
    """Return the cases of the preset or of the grid file.

    If the options name neither a preset nor a grid file, make the cases from the other options and the config.
    """
    useless = [each.name for each in fields(CaseOptions)]
    if options.preset is not None:
        refuse(options, "--preset", ("grid", "config", *useless))
        return grid.preset(options.preset)
    if options.grid is not None:
        refuse(options, "--grid", ("config", *useless))
        return grid.read(options.grid)
    defaults: dict[str, Any] = {"members": [str(source.model) for source in config.members] or list(DEFAULT_MEMBERS)}
    defaults |= {"combine": config.combine, "schedule": [config.schedule], "verification": config.verification}
    defaults |= _sampling(config)
    return grid.cases({"cells": [defaults | given(options.case)]}, "bench")


def _sampling(config: Config) -> dict[str, Any]:
    """Return the sampling parameters that a config changes, as fields of `Case`.

    Raises:
        RequestError: the config changes a sampling parameter that `Case` does not have.
    """
    pairs = [(each.name, getattr(config.params, each.name)) for each in fields(SamplingParams)]
    changed = {name: value for name, value in pairs if value != getattr(SamplingParams(), name)}
    for name in changed:
        if name not in SAMPLING:
            raise RequestError(
                f"bench measures with {', '.join(SAMPLING)} of a config's sampling only, not with: {name}"
            )
    return {SAMPLING[name]: value for name, value in changed.items()}


def _run(book: runs.Book, cases: Sequence[Case], load: Any) -> dict[str, Any]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    finished = sum(runs.runs_of(case) for case in cases if case.name in book.document["cases"])
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=sum(map(runs.runs_of, cases)), completed=finished)
        tell = lambda case, stage: progress.update(task, description=f"{case.name}: {stage}")  # noqa: E731
        try:
            return runs.run(book, cases, load, tell, lambda: progress.advance(task))
        except KeyboardInterrupt:
            if book.path:
                progress.console.print(
                    f"interrupted; what was measured is in {book.path}: go on with --resume", soft_wrap=True
                )
            raise


def _show(document: dict[str, Any]) -> None:
    console = Console(width=None if Console().is_terminal else 160, highlight=False)
    for name in document["cases"]:
        found = [cell for cell in document["cells"] if cell["case"] == name]
        console.print(name, style="bold")
        for stage in dict.fromkeys(cell["stage"] for cell in found):
            console.print(
                report.table([cell for cell in found if cell["stage"] == stage], document["cases"][name]["names"])
            )
        for label, reason in document["cases"][name]["skipped"].items():
            console.print(f"skipped: {label}, {reason}")
    for figure in report.figures(document) if document["preset"] else ():
        console.print(f"{figure.name}: {figure.value:.3g} (bar {figure.bar}, met: {figure.met})")


def _profile(cases: Sequence[Case], load: Any, output: Path | None) -> None:
    if len(cases) > 1:
        raise RequestError(f"--profile is for one case, not for {len(cases)}: give one value of each option")
    (case,) = cases
    console, found, ensemble = Console(), {}, load(case)
    texts, params = prompts.read(case.prompts, case.count), runs.parameters(case)
    choices = [Choice.parse(each) for each in case.schedule]
    # All methods are checked before the first method is measured
    methods = [ensemble.method(params, **runs.asked(case, choice)) for choice in choices]
    for choice, method in zip(choices, methods, strict=True):
        measured = measure(ensemble, texts, params, **runs.asked(case, choice))
        console.print(f"{method.schedule.name}:")
        console.print(table(measured))
        found[choice.label] = measured.as_dict()
    facts = {"members": ensemble.names, "combination": ensemble.method(params).combination.name}
    facts |= {"temperature": case.temperature, "tokens": case.tokens, "profiles": found}
    write_json(output, {**provenance(), **facts})
