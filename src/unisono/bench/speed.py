"""`make bench`: a table of schedules against `standard` for the bundled models, as JSON and on the terminal."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from unisono.bench.measure import Cell, compare
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance
from unisono.ensemble import Ensemble
from unisono.params import SamplingParams


@dataclass(frozen=True)
class Case:
    """One row group of the table."""

    members: tuple[str, ...]
    combine: str
    temperature: float
    schedules: tuple[str, ...]


CASES = (
    Case(("zoo:code-m", "zoo:code-n"), "weighted:0.5,0.5", 1.0, ("parallel", "speculative:1", "cos:1,1", "cos:2,1")),
    Case(("zoo:code-m", "zoo:code-n"), "weighted:0.5,0.5", 0.0, ("parallel", "speculative:1", "cos:1,1", "cos:2,1")),
    Case(("zoo:code-m", "zoo:code-s"), "weighted:0.5,0.5", 1.0, ("speculative:4", "cos:1,1", "cos:1,4")),
    Case(("zoo:code-m", "zoo:code-s"), "contrastive:0.1", 1.0, ("speculative:4", "cos:1,1", "cos:1,3", "cos:2,1")),
    Case(("zoo:code-m", "zoo:code-s"), "contrastive:0.1", 0.0, ("speculative:4", "cos:1,1", "cos:1,3", "cos:2,1")),
    Case(
        ("zoo:code-m", "zoo:code-n", "zoo:code-s"), "weighted:1,1,1", 1.0, ("speculative:2", "cos:1,1,1", "cos:1,1,2")
    ),
    Case(("zoo:code-m", "zoo:code-s"), "only:0", 1.0, ("speculative:2", "speculative:4")),
)


def main() -> None:
    """Measure, print, and write the result file if asked for one."""
    arguments = _arguments()
    prompts = PYTHON[:3] if arguments.short else PYTHON[:5]
    repeats = 2 if arguments.short else 3
    cases = CASES[:4] if arguments.short else CASES
    console = Console(width=None if Console().is_terminal else 140)
    results = []
    with Progress(console=console, transient=True) as progress:
        for case in cases:
            task = progress.add_task(case.combine, total=len(prompts) * repeats * (len(case.schedules) + 1))
            results.append((case, _measure(case, prompts, repeats, lambda task=task: progress.advance(task))))
    console.print(_table(results))
    if arguments.output:
        document = {**provenance(), "tokens": 64, "prompts": len(prompts), "repeats": repeats, "cells": _rows(results)}
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m unisono.bench.speed", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer cases, prompts and repeats")
    parser.add_argument("--output", type=Path, help="write the results with their provenance to this JSON file")
    return parser.parse_args()


def _measure(case: Case, prompts: tuple[str, ...], repeats: int, progress: Any) -> list[Cell]:
    ensemble = Ensemble.load(case.members, case.combine)
    params = SamplingParams(max_tokens=64, temperature=case.temperature, ignore_eos=True, seed=0)
    return compare(ensemble, prompts, params, case.schedules, repeats, progress)


def _rows(results: list[tuple[Case, list[Cell]]]) -> list[dict[str, Any]]:
    keys = ("members", "combine", "temperature")
    return [{key: asdict(case)[key] for key in keys} | cell.as_dict() for case, cells in results for cell in cells]


def _table(results: list[tuple[Case, list[Cell]]]) -> Table:
    table = Table(
        "members", "combination", "T", "schedule", "speed-up", "predicted", "acceptance", "cost", "forwards/token"
    )
    for case, cells in results:
        for cell in cells:
            table.add_row(
                " ".join(name.removeprefix("zoo:") for name in case.members),
                case.combine,
                f"{case.temperature:g}",
                cell.schedule,
                f"{cell.speedup:.2f}",
                *("-" if value is None else f"{value:.2f}" for value in (cell.predicted, cell.acceptance, cell.cost)),
                " ".join(f"{each:.2f}" for each in cell.forwards),
            )
        table.add_section()
    return table


if __name__ == "__main__":
    main()
