"""A plot of quality against cost with one point for each method."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unisono.errors import ConfigurationError
from unisono.evals.compare import Row

MARKERS = {"member": "s", "fused": "o"}


def plot(rows: Sequence[Row], task: str, unit: str, higher: bool, path: str | Path) -> None:
    """Write a plot of the scores, with their intervals, against milliseconds per token.

    Members are drawn as squares. The legend lists the methods from the best score to the worst score. Routers are left
    out, because they have no cost.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    shown = sorted((row for row in rows if row.tokens_per_second), key=lambda row: row.score.value, reverse=higher)
    style: dict[str, Any]
    for index, row in enumerate(shown):
        cost, score = 1000 / (row.tokens_per_second or 1), row.score
        spread = [[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]]
        colour = colormaps["tab20"](2 * index % 20 + 2 * index // 20 % 2)  # ten strong colours, then ten pale ones
        style = {"fmt": MARKERS[row.kind], "color": colour, "capsize": 3, "markersize": 7, "label": row.name}
        axes.errorbar(cost, score.value, yerr=spread, **style)
    axes.set(
        title=task, xlabel="milliseconds per token", ylabel=f"{unit} ({'higher' if higher else 'lower'} is better)"
    )
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the plot cannot be written: {path} ({error})") from None
