"""Tasks of lm-evaluation-harness for `unisono eval`."""

import difflib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unisono.bench.provenance import provenance
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError, RequestError
from unisono.evals.statistics import NORMAL


def run_harness(
    ensemble: Ensemble,
    task: str,
    combinations: Sequence[object],
    schedule: str,
    limit: int,
    folder: Path | None,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Every member alone and every combination on one task; prints a table, returns the report.

    Args:
        schedule: of the combinations; members alone decode as they are.

    Raises:
        ConfigurationError: the harness is missing, or knows no such task.
    """
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager

        from unisono.evals.harness import UnisonoLM
    except ImportError as error:
        raise ConfigurationError(
            f"tasks of the harness need lm-eval ({error.name} is missing); install it with: pip install 'unisono[harness]'"
        ) from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if folder is not None and not folder.is_dir():
        raise RequestError(f"--include-path is no folder: {folder}")
    manager = TaskManager(include_path=str(folder) if folder else None)
    _require_task(task, manager.all_tasks)
    methods: list[tuple[str, object, str]] = [
        (f"{name} alone", f"only:{index}", "standard") for index, name in enumerate(ensemble.names)
    ]
    methods += [(str(each), each, schedule) for each in combinations]
    rows = []
    for name, combination, plan in methods:
        say(name)
        started = time.perf_counter()
        model = UnisonoLM(ensemble, combine=combination, schedule=plan)
        try:
            found = lm_eval.simple_evaluate(model, tasks=[task], limit=limit, task_manager=manager, log_samples=False)
        except (OSError, ConnectionError) as error:
            raise RequestError(
                f"the data of task {task} cannot be read ({' '.join(str(error).split())[:200]})"
            ) from None
        seconds, tokens = time.perf_counter() - started, max(1, model.tokens)
        rows.append(
            {
                "name": name,
                "metrics": found["results"][task],
                "seconds": seconds,
                "tokens_per_second": model.tokens / seconds,
                "forwards_per_token": [count / tokens for count in model.forwards],
            }
        )
    _show(task, rows)
    return {"provenance": provenance(), "task": task, "limit": limit, "members": ensemble.names, "results": rows}


def _require_task(task: str, known: Sequence[str]) -> None:
    if task in known:
        return
    own = ["skills", "bits-per-byte", "exact-match", "humaneval"]
    near = difflib.get_close_matches(task, [*own, *known], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see: lm-eval ls tasks"
    raise RequestError(f"unknown task: {task!r}; {hint} (or {', '.join(own)})")


def _show(task: str, rows: Sequence[dict[str, Any]]) -> None:
    """Each metric with an interval of 95% from the harness's own standard error."""
    names = [key for key in rows[0]["metrics"] if "," in key and "stderr" not in key]
    table = Table("method", *(name.split(",")[0] for name in names), "seconds", "tokens/s", "forwards/token", box=None)
    for row in rows:
        values = []
        for name in names:
            metric, _, chosen = name.partition(",")
            error = row["metrics"].get(f"{metric}_stderr,{chosen}")
            spread = f" ± {NORMAL * error:.4f}" if isinstance(error, float) else ""
            values.append(f"{row['metrics'][name]:.4f}{spread}")
        forwards = " ".join(f"{each:.2f}" for each in row["forwards_per_token"])
        table.add_row(row["name"], *values, f"{row['seconds']:.1f}", f"{row['tokens_per_second']:.0f}", forwards)
    Console(highlight=False).print(task, table, sep="\n")
