"""`unisono bench`: ways to decode side by side, or where the time of one goes; and `predict`, before a long run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
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
    Compile,
    ConfigFile,
    Device,
    Dtype,
    Members,
    quiet_libraries,
    read_config,
)
from unisono.config import Config
from unisono.errors import ConfigurationError, RequestError
from unisono.params import SamplingParams

Combinations = Annotated[list[str], typer.Option("--combine", help="A combination to measure; repeat it.")]
Schedules = Annotated[
    list[str],
    typer.Option(
        "--schedule",
        help="What to measure: SCHEDULE [VERIFICATION] [COMBINATION], as in 'cos:1,6 block'; repeat it. Default: auto.",
    ),
]
Verifications = Annotated[list[str], typer.Option("--verification", help="token, block, coupled or auto; repeat it.")]
Temperatures = Annotated[list[float], typer.Option(min=0, help="0 is greedy; repeat it. Default: 1.")]
Rows = Annotated[list[int], typer.Option(min=1, help="Prompts that run at the same time; repeat it. Default: 1.")]
SOURCES = "python or edits (bundled), a file of lines or JSON lines, gsm8k, humaneval, mmlu, cnn_dailymail or a hub id"
Texts = Annotated[list[str], typer.Option("--text", help=f"Prompts: {SOURCES}; repeat it. Default: python.")]
Peers = Annotated[
    list[str],
    typer.Option(
        "--peer", help="transformers:generate, transformers:assisted:G or transformers:ensemble:G; repeat it."
    ),
]
Preset = Annotated[str | None, typer.Option(help="paper: the table; sweeps: the curves. Both take long.")]
Grid = Annotated[Path | None, typer.Option("--grid", help="A YAML file with the cells to measure.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Tokens per run. Default: 64.")]
Count = Annotated[int | None, typer.Option("--prompts", min=1, help="How many of the prompts. Default: 4.")]
Repeats = Annotated[int | None, typer.Option(min=1, help="Runs per prompt and choice. Default: 3.")]
Seed = Annotated[int | None, typer.Option(help="Of every run; auto takes coupled verification then.")]
Profile = Annotated[bool, typer.Option("--profile", help="Show where a round's time goes instead.")]
Output = Annotated[Path | None, typer.Option(help="Write the result with its provenance to this JSON file.")]
Markdown = Annotated[Path | None, typer.Option(help="Write the result as Markdown.")]
Picture = Annotated[Path | None, typer.Option("--plots", help="Draw the result into this folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run in the output file.")]

FIELDS = {  # parameter -> field of a case
    "member": "members", "combine": "combine", "schedule": "schedule", "verification": "verification",
    "temperature": "temperature", "rows": "rows", "text": "prompts", "peer": "peers", "max_tokens": "tokens",
    "count": "count", "repeats": "repeats", "seed": "seed",
}  # fmt: skip
OPTIONS = {"count": "--prompts", "cells": "--grid", "picture": "--plots", "max_tokens": "--max-tokens"}
SAMPLING = ("temperature", "max_tokens", "seed")  # of a config: what a case has
app = typer.Typer(help="Measure schedules against standard decoding, interleaved in one run.")


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    member: Members = [],  # noqa: B006
    combine: Combinations = [],  # noqa: B006
    schedule: Schedules = [],  # noqa: B006
    verification: Verifications = [],  # noqa: B006
    temperature: Temperatures = [],  # noqa: B006
    rows: Rows = [],  # noqa: B006
    text: Texts = [],  # noqa: B006
    peer: Peers = [],  # noqa: B006
    preset: Preset = None,
    cells: Grid = None,
    config: ConfigFile = None,
    max_tokens: MaxTokens = None,
    count: Count = None,
    repeats: Repeats = None,
    seed: Seed = None,
    dtype: Dtype = None,
    device: Device = None,
    compile: Compile = None,
    profile: Profile = False,
    output: Output = None,
    markdown: Markdown = None,
    picture: Picture = None,
    resume: Resume = False,
) -> None:
    """Measure schedules against standard decoding, interleaved in one run; or profile them with --profile."""
    asked = {name: value for name, value in context.params.items() if value not in (None, [], False)}
    if context.invoked_subcommand:
        _refuse(asked, context.invoked_subcommand, tuple(asked))
        return
    quiet_libraries()
    if picture:
        plots.require()
    given = read_config(config)
    sources = {key: asked[key] for key in ("dtype", "device", "compile") if key in asked}
    load = run.loader([] if member else [source.given() | sources for source in given.members], **sources)
    cases = _cases(asked, given)
    if profile:
        _refuse(asked, "--profile", ("preset", "cells", "peer", "markdown", "picture", "resume"))
        _profile(cases, load, output)
        return
    if picture and not (preset or cells):
        cases[0] = replace(cases[0], timeline=cases[0].schedule[0])
    run.check(cases, load)
    document = _run(run.start(cases, output, resume, preset=preset), cases, load)
    _show(document)
    if markdown:
        _write(markdown, report.markdown(document))
    if picture:
        plots.draw(document, picture)


def _refuse(asked: Mapping[str, Any], what: str, useless: Sequence[str]) -> None:
    for name in useless:
        if name in asked:
            raise RequestError(f"{OPTIONS.get(name, '--' + name)} has no use with {what}; leave it out")


def _cases(asked: Mapping[str, Any], config: Config) -> list[Case]:
    """What the options, or the preset or file that they name, say is to be measured."""
    if "preset" in asked:
        _refuse(asked, "--preset", ("cells", "config", *FIELDS))
        return grid.preset(asked["preset"])
    if "cells" in asked:
        _refuse(asked, "--grid", ("config", *FIELDS))
        return grid.read(asked["cells"])
    defaults: dict[str, Any] = {"members": [str(source.model) for source in config.members] or list(DEFAULT_MEMBERS)}
    defaults |= {"combine": config.combine, "schedule": [config.schedule], "verification": config.verification}
    defaults |= _sampling(config)
    options = {FIELDS[name]: value for name, value in asked.items() if name in FIELDS}
    return grid.cases({"cells": [defaults | options]}, "bench")


def _sampling(config: Config) -> dict[str, Any]:
    """Sampling parameters of a config that differ from the defaults, as fields of a case."""
    pairs = [(each.name, getattr(config.sampling, each.name)) for each in fields(SamplingParams)]
    changed = {name: value for name, value in pairs if value != getattr(SamplingParams(), name)}
    for name in changed:
        if name not in SAMPLING:
            raise RequestError(
                f"bench measures with {', '.join(SAMPLING)} of a config's sampling only, not with: {name}"
            )
    return {FIELDS[name]: value for name, value in changed.items()}


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
def predict(
    member: Members = [],  # noqa: B006
    combine: Combine = None,
    schedule: Schedules = [],  # noqa: B006
    config: ConfigFile = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 1.0,
    text: Annotated[str, typer.Option("--text", help=f"Prompts: {SOURCES}.")] = "python",
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens per prompt.")] = 48,
    count: Annotated[int, typer.Option("--prompts", min=1, help="How many of the prompts.")] = 3,
    dtype: Dtype = None,
    device: Device = None,
    compile: Compile = None,
    output: Output = None,
) -> None:
    """Say before a long run which schedule pays, and how much: from a few prompts' laws and the members' speed."""
    quiet_libraries()
    given = read_config(config)
    sources = {key: value for key, value in (("dtype", dtype), ("device", device), ("compile", compile)) if value}
    listed: Sequence[object] = member or [source.given() | sources for source in given.members] or DEFAULT_MEMBERS
    combination = given.combine if combine is None else combine
    texts = prompts.read(text, count)
    ensemble = members.load(listed, combination, **sources)
    params = SamplingParams(max_tokens=max_tokens, temperature=temperature, ignore_eos=True)
    choices = [Choice.parse(each) for each in schedule] or replay.candidates(ensemble, params)
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
        "temperature": temperature,
        "cost": record.cost,
        "acceptances": record.acceptances(),
        "milliseconds": [1000 * price[1] for price in record.price],
    }
    report.show_predictions(facts, rows)
    if output:
        _write(output, json.dumps({**provenance(), **facts, "cells": rows}, indent=1) + "\n")
