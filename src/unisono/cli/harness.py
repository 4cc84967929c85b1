"""Run tasks of lm-evaluation-harness for `unisono eval`."""

import difflib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unisono.bench.provenance import provenance
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError, RequestError
from unisono.evals.compare import Row
from unisono.evals.plot import plot
from unisono.evals.statistics import NORMAL, Estimate
from unisono.params import SamplingParams

OWN = ("skills", "bits-per-byte", "exact-match", "humaneval")  # tasks that do not need the harness
WARM_UP = SamplingParams(max_tokens=4, temperature=0)


def run_harness(
    ensemble: Ensemble,
    task: str,
    combinations: Sequence[object],
    schedule: str,
    limit: int,
    folder: Path | None,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Measure every member alone and every combination on one task. Print a table and return the report.

    Args:
        schedule: the schedule for the combinations. Members alone use `standard`.
        limit: the largest number of items.
        folder: a folder with additional tasks in YAML files.
        say: a function that is called with the name of each method before the method is measured.

    Raises:
        ConfigurationError: the harness is not installed.
        RequestError: the folder does not exist, the harness has no task of this name, or the data of the task cannot be
            read.
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
        (f"{ensemble.names[index]} alone", f"only:{index}", "standard") for index in ensemble.lineup.combined
    ]
    methods += [(str(each), each, schedule) for each in combinations]
    rows: list[dict[str, Any]] = []
    higher: dict[str, bool] = {}
    for name, combination, plan in methods:
        say(name)
        ensemble.generate("a", WARM_UP, combine=combination, schedule=plan)
        model = UnisonoLM(ensemble, combine=combination, schedule=plan)
        try:
            found = lm_eval.simple_evaluate(model, tasks=[task], limit=limit, task_manager=manager, log_samples=False)
        except (OSError, ConnectionError) as error:
            raise RequestError(
                f"the data of task {task} cannot be read ({' '.join(str(error).split())[:200]})"
            ) from None
        higher = found.get("higher_is_better", {}).get(task, {})
        rows.append(
            {
                "name": name,
                "kind": "fused" if len(rows) not in ensemble.lineup.combined else "member",
                "metrics": found["results"][task],
                "seconds": model.seconds,
                "tokens_per_second": model.tokens / model.seconds,
                "forwards_per_token": [count / max(1, model.tokens) for count in model.forwards],
            }
        )
    _show(task, rows)
    report = {"provenance": provenance(), "task": task, "limit": limit, "members": ensemble.names}
    return report | {"higher_is_better": higher, "results": rows}


def draw(report: dict[str, Any], path: Path) -> None:
    """Plot the first metric of the report against the cost of each method, and write the plot to `path`."""
    name = _metrics(report["results"][0])[0]
    metric = name.partition(",")[0]
    kept = ("name", "kind", "seconds", "tokens_per_second", "forwards_per_token")
    rows = [
        Row(score=_estimate(each["metrics"], name), gain=None, scores=(), **{key: each[key] for key in kept})
        for each in report["results"]
    ]
    plot(rows, report["task"], metric, report["higher_is_better"].get(metric, True), path)


def _metrics(row: dict[str, Any]) -> list[str]:
    values = row["metrics"].items()
    return [key for key, value in values if "," in key and "stderr" not in key and isinstance(value, float | int)]


def _estimate(metrics: dict[str, Any], name: str) -> Estimate:
    """Return a metric with its 95% interval. The interval has width 0 if the harness reports no standard error."""
    metric, _, chosen = name.partition(",")
    error, value = metrics.get(f"{metric}_stderr,{chosen}"), metrics[name]
    spread = NORMAL * error if isinstance(error, float) else 0.0
    return Estimate(value, value - spread, value + spread)


def _require_task(task: str, known: Sequence[str]) -> None:
    if task in known:
        return
    near = difflib.get_close_matches(task, [*OWN, *known], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see: lm-eval ls tasks"
    raise RequestError(f"unknown task: {task!r}; {hint} (or {', '.join(OWN)})")


def _show(task: str, rows: Sequence[dict[str, Any]]) -> None:
    names = _metrics(rows[0])
    table = Table("method", *(name.split(",")[0] for name in names), "seconds", "tokens/s", "forwards/token", box=None)
    for row in rows:
        values = []
        for found in (_estimate(row["metrics"], name) for name in names):
            spread = f" ± {found.high - found.value:.4f}" if found.high > found.value else ""
            values.append(f"{found.value:.4f}{spread}")
        forwards = " ".join(f"{each:.3g}" for each in row["forwards_per_token"])
        table.add_row(row["name"], *values, f"{row['seconds']:.1f}", f"{row['tokens_per_second']:.0f}", forwards)
    Console(highlight=False).print(task, table, sep="\n")
