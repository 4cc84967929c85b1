"""`unisono bench`: schedules side by side against `standard`, or where the time of one goes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from unisono.bench.measure import Cell, compare
from unisono.bench.profile import measure, table
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance
from unisono.cli.options import Combine, Compile, ConfigFile, Device, Dtype, Members, load_ensemble, read_config
from unisono.ensemble import Ensemble
from unisono.errors import RequestError
from unisono.params import SamplingParams

Schedules = Annotated[
    list[str], typer.Option("--schedule", help="A schedule to measure; repeat it. Default: auto.", show_default=False)
]
Texts = Annotated[Path | None, typer.Option("--text", help="Prompts, one per line. Default: Python beginnings.")]
Output = Annotated[Path | None, typer.Option(help="Write the result with its provenance to this JSON file.")]


def bench(
    member: Members = [],  # noqa: B006
    combine: Combine = None,
    schedule: Schedules = [],  # noqa: B006
    config: ConfigFile = None,
    text: Texts = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per run.")] = 64,
    prompts: Annotated[int, typer.Option(min=1, help="How many of the prompts.")] = 4,
    repeats: Annotated[int, typer.Option(min=1, help="Runs per prompt and schedule.")] = 3,
    dtype: Dtype = None,
    device: Device = None,
    compile: Compile = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show where a round's time goes instead.")] = False,
    output: Output = None,
) -> None:
    """Measure schedules against standard decoding, interleaved in one run, or profile one with --profile."""
    ensemble = load_ensemble(
        read_config(config), member, combine, None, None, dtype=dtype, device=device, compile=compile
    )
    asked = _prompts(text, ensemble)[:prompts]
    params = SamplingParams(max_tokens=max_tokens, temperature=temperature, ignore_eos=True, seed=0)
    names = schedule or ["auto"]
    for name in names:
        ensemble.method(params, schedule=name)  # a mistake is said before anything is measured
    found = _profiled(ensemble, asked, params, names) if profile else _compared(ensemble, asked, params, names, repeats)
    if output:
        facts = {"members": ensemble.names, "combination": ensemble.method(params).combination.name}
        document = {**provenance(), **facts, "temperature": temperature, "tokens": max_tokens, **found}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _prompts(path: Path | None, ensemble: Ensemble) -> list[str]:
    if ensemble.tokenizer is None:
        raise RequestError("bench reads texts, and these members have no tokenizer")
    if path is None:
        return list(PYTHON)
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"prompts cannot be read: {path} ({error})") from None
    if not lines:
        raise RequestError(f"there is no prompt in the file: {path}")
    return lines


def _profiled(ensemble: Ensemble, prompts: list[str], params: SamplingParams, names: list[str]) -> dict[str, Any]:
    console, found = Console(), {}
    for name in names:
        profile = measure(ensemble, prompts, params, schedule=name)
        console.print(f"{ensemble.method(params, schedule=name).schedule.name}:")
        console.print(table(profile))
        found[name] = profile.as_dict()
    return {"profiles": found}


def _compared(
    ensemble: Ensemble, prompts: list[str], params: SamplingParams, names: list[str], repeats: int
) -> dict[str, Any]:
    runs = len(prompts) * repeats * (len(set(names) - {"standard"}) + 1)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=runs)
        cells = compare(ensemble, prompts, params, names, repeats, lambda: progress.advance(task))
    Console(width=None if Console().is_terminal else 140).print(_table(cells, ensemble.names))
    return {"repeats": repeats, "cells": [asdict(cell) for cell in cells]}


def _table(cells: list[Cell], members: list[str]) -> Table:
    found = Table("schedule", "speed-up", "predicted", "acceptance", "cost", *(f"{name}/token" for name in members))
    for cell in cells:
        values = (cell.predicted, cell.acceptance, cell.cost)
        shown = ("-" if value is None else f"{value:.2f}" for value in values)
        forwards = (f"{each:.2f}" for each in cell.forwards)
        found.add_row(cell.schedule, f"{cell.speedup:.2f}", *shown, *forwards)
    return found
