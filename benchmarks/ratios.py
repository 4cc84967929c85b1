"""Runs that alternate, and the report of what they gave beside the bars."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unisono.bench.provenance import provenance


def alternate(runs: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Median seconds of each, in turns after a warm-up round."""
    seconds: list[list[float]] = [[] for _ in runs]
    for repeat in range(repeats + 1):
        for run, times in zip(runs, seconds, strict=True):
            started = time.perf_counter()
            run()
            if repeat:
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in seconds]


def report(figures: Mapping[str, float], bars: Mapping[str, str], output: Path | None, **facts: Any) -> None:
    """Print figures beside their bars, and write them with their provenance if a file is given."""
    table = Table("figure", "measured", "bar")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}", bars.get(name, "-"))
    Console().print(table)
    if output:
        document = {**provenance(), **facts, "figures": figures, "bars": bars}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
