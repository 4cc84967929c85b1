"""`unisono bench`: ways to decode side by side, or where the time of one goes; and `predict`, before a long run."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unisono.bench import grid, members, plots, prompts, replay, report, run
from unisono.bench.choice import BASELINE, Choice
from unisono.bench.grid import Case
from unisono.bench.profile import measure, table
from unisono.bench.provenance import provenance
from unisono.cli.options import (
    DEFAULT_MEMBERS,
    Combine,
    ConfigFile,
    Members,
    SourceOptions,
    members_of,
    quiet_libraries,
    read_config,
)
from unisono.cli.signature import given, with_options
from unisono.config import Config
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError, RequestError
from unisono.params import SamplingParams

SOURCES = "python or edits (bundled), a file of lines or JSON lines, gsm8k, humaneval, mmlu, cnn_dailymail or a hub id"
Schedules = Annotated[
    list[str],
    typer.Option(
        "--schedule",
        help="What to measure: SCHEDULE [VERIFICATION] [COMBINATION], as in 'cos:1,6 block'; repeat it. Default: auto.",
    ),
]
Output = Annotated[Path | None, typer.Option(help="Write the result with its provenance to this JSON file.")]


@dataclass(frozen=True)
class CaseOptions:
    """What is measured; the fields are those of `Case`."""

    members: Members = field(default_factory=list)
    combine: Annotated[list[str], typer.Option(help="A combination to measure; repeat it.")] = field(
        default_factory=list
    )
    schedule: Schedules = field(default_factory=list)
    verification: Annotated[list[str], typer.Option(help="token, block, coupled or auto; repeat it.")] = field(
        default_factory=list
    )
    temperature: Annotated[list[float], typer.Option(min=0, help="0 is greedy; repeat it. Default: 1.")] = field(
        default_factory=list
    )
    rows: Annotated[
        list[int], typer.Option(min=1, help="Prompts that run at the same time; repeat it. Default: 1.")
    ] = field(default_factory=list)
    prompts: Annotated[list[str], typer.Option("--text", help=f"Prompts: {SOURCES}; repeat it. Default: python.")] = (
        field(default_factory=list)
    )
    peers: Annotated[
        list[str],
        typer.Option(
            "--peer", help="transformers:generate, transformers:assisted:G or transformers:ensemble:G; repeat it."
        ),
    ] = field(default_factory=list)
    tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Tokens per run. Default: 64.")] = None
    count: Annotated[int | None, typer.Option("--prompts", min=1, help="How many of the prompts. Default: 4.")] = None
    repeats: Annotated[int | None, typer.Option(min=1, help="Runs per prompt and choice. Default: 3.")] = None
    seed: Annotated[int | None, typer.Option(help="Of every run; auto takes coupled verification then.")] = None


@dataclass(frozen=True)
class BenchOptions:
    """What `unisono bench` takes."""

    case: CaseOptions = field(default_factory=CaseOptions)
    preset: Annotated[str | None, typer.Option(help="paper: the table; sweeps: the curves. Both take long.")] = None
    grid: Annotated[Path | None, typer.Option(help="A YAML file with the cells to measure.")] = None
    config: ConfigFile = None
    source: SourceOptions = field(default_factory=SourceOptions)
    profile: Annotated[bool, typer.Option("--profile", help="Show where a round's time goes instead.")] = False
    output: Output = None
    markdown: Annotated[Path | None, typer.Option(help="Write the result as Markdown.")] = None
    plots: Annotated[Path | None, typer.Option(help="Draw the result into this folder.")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run in the output file.")] = False


@dataclass(frozen=True)
class PredictOptions:
    """What `unisono bench predict` takes."""

    members: Members = field(default_factory=list)
    combine: Combine = None
    schedule: Schedules = field(default_factory=list)
    config: ConfigFile = None
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 1.0
    prompts: Annotated[str, typer.Option("--text", help=f"Prompts: {SOURCES}.")] = "python"
    tokens: Annotated[int, typer.Option("--max-tokens", min=2, help="Tokens per prompt.")] = 48
    count: Annotated[int, typer.Option("--prompts", min=1, help="How many of the prompts.")] = 3
    source: SourceOptions = field(default_factory=SourceOptions)
    output: Output = None


# Options that are not called as the fields they fill
NAMES = {"members": "member", "prompts": "text", "peers": "peer", "tokens": "max-tokens", "count": "prompts"}
SAMPLING = {"temperature": "temperature", "max_tokens": "tokens", "seed": "seed"}  # of a config: what a case has
app = typer.Typer(help="Measure schedules against standard decoding, interleaved in one run.")


@app.callback(invoke_without_command=True)
@with_options
def bench(context: typer.Context, options: BenchOptions) -> None:
    """Measure schedules against standard decoding, interleaved in one run; or profile them with --profile."""
    if context.invoked_subcommand:
        asked = given(options)
        _refuse(asked, context.invoked_subcommand, tuple(asked))
        return
    quiet_libraries()
    if options.plots:
        plots.require()
    config = read_config(options.config)
    load = run.loader([] if options.case.members else members_of(config, options.source), **given(options.source))
    cases = _cases(options, config)
    if options.profile:
        _refuse(given(options), "--profile", ("preset", "grid", "peers", "markdown", "plots", "resume"))
        _profile(cases, load, options.output)
        return
    _measure(cases, load, options)


def _measure(cases: list[Case], load: Callable[[Case], Ensemble], options: BenchOptions) -> None:
    if options.plots and not (options.preset or options.grid):
        cases[0] = replace(cases[0], timeline=cases[0].schedule[0])
    run.check(cases, load)
    document = _run(run.start(cases, options.output, options.resume, preset=options.preset), cases, load)
    _show(document)
    if options.markdown:
        _write(options.markdown, report.markdown(document))
    if options.plots:
        plots.draw(document, options.plots)


def _refuse(asked: Mapping[str, Any], what: str, useless: Iterable[str]) -> None:
    for name in useless:
        if name in asked:
            raise RequestError(f"--{NAMES.get(name, name)} has no use with {what}; leave it out")


def _cases(options: BenchOptions, config: Config) -> list[Case]:
    """What the options, or the preset or file that they name, say is to be measured."""
    asked = given(options)
    useless = [each.name for each in fields(CaseOptions)]
    if options.preset is not None:
        _refuse(asked, "--preset", ("grid", "config", *useless))
        return grid.preset(options.preset)
    if options.grid is not None:
        _refuse(asked, "--grid", ("config", *useless))
        return grid.read(options.grid)
    defaults: dict[str, Any] = {"members": [str(source.model) for source in config.members] or list(DEFAULT_MEMBERS)}
    defaults |= {"combine": config.combine, "schedule": [config.schedule], "verification": config.verification}
    defaults |= _sampling(config)
    return grid.cases({"cells": [defaults | given(options.case)]}, "bench")


def _sampling(config: Config) -> dict[str, Any]:
    """Sampling parameters of a config that differ from the defaults, as fields of a case."""
    pairs = [(each.name, getattr(config.sampling, each.name)) for each in fields(SamplingParams)]
    changed = {name: value for name, value in pairs if value != getattr(SamplingParams(), name)}
    for name in changed:
        if name not in SAMPLING:
            raise RequestError(
                f"bench measures with {', '.join(SAMPLING)} of a config's sampling only, not with: {name}"
            )
    return {SAMPLING[name]: value for name, value in changed.items()}


def _run(book: run.Book, cases: Sequence[Case], load: Any) -> dict[str, Any]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    finished = sum(run.runs_of(case) for case in cases if case.name in book.document["cases"])
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=sum(map(run.runs_of, cases)), completed=finished)
        tell = lambda case, stage: progress.update(task, description=f"{case.name}: {stage}")  # noqa: E731
        try:
            return run.run(book, cases, load, tell, lambda: progress.advance(task))
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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the result cannot be written: {path} ({error.strerror})") from None


def _profile(cases: Sequence[Case], load: Any, output: Path | None) -> None:
    if len(cases) > 1:
        raise RequestError(f"--profile is for one case, not for {len(cases)}: give one value of each option")
    (case,) = cases
    console, found, ensemble = Console(), {}, load(case)
    texts, params = prompts.read(case.prompts, case.count), run.parameters(case)
    choices = [Choice.parse(each) for each in case.schedule]
    methods = [ensemble.method(params, **run.asked(case, choice)) for choice in choices]  # a mistake is said now
    for choice, method in zip(choices, methods, strict=True):
        measured = measure(ensemble, texts, params, **run.asked(case, choice))
        console.print(f"{method.schedule.name}:")
        console.print(table(measured))
        found[choice.label] = measured.as_dict()
    if output:
        facts = {"members": ensemble.names, "combination": ensemble.method(params).combination.name}
        document = {**provenance(), **facts, "temperature": case.temperature, "tokens": case.tokens, "profiles": found}
        _write(output, json.dumps(document, indent=1) + "\n")


@app.command("predict")
@with_options
def predict(options: PredictOptions) -> None:
    """Say before a long run which schedule pays, and how much: from a few prompts' laws and the members' speed."""
    quiet_libraries()
    config = read_config(options.config)
    listed = options.members or members_of(config, options.source) or DEFAULT_MEMBERS
    combination = config.combine if options.combine is None else options.combine
    texts = prompts.read(options.prompts, options.count)
    ensemble = members.load(listed, combination, **given(options.source))
    params = SamplingParams(max_tokens=options.tokens, temperature=options.temperature, ignore_eos=True)
    choices = [Choice.parse(each) for each in options.schedule] or replay.candidates(ensemble, params)
    for choice in choices:
        ensemble.method(params, **choice.overrides)
    record = replay.record(ensemble, texts, params)
    rows = [
        {"schedule": each.label, "replayed": replay.speedup(record, each), "formula": replay.formula(record, each)}
        for each in choices
    ]
    facts = {
        "members": ensemble.names,
        "combination": ensemble.method(params, schedule=BASELINE).combination.name,
        "temperature": options.temperature,
        "cost": record.cost,
        "acceptances": record.acceptances(),
        "milliseconds": [1000 * price[1] for price in record.price],
    }
    report.show_predictions(facts, rows)
    if options.output:
        _write(options.output, json.dumps({**provenance(), **facts, "cells": rows}, indent=1) + "\n")
