"""A picture of quality against cost, one point per method."""

from collections.abc import Sequence
from pathlib import Path

from unisono.errors import ConfigurationError
from unisono.evals.compare import Row

COLOURS = {"member": "tab:gray", "fused": "tab:blue"}


def require_plots() -> None:
    """Raise ConfigurationError if matplotlib is missing, before anything long has been run."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigurationError("--plot needs matplotlib; install it with: pip install 'unisono[plots]'") from None


def plot(rows: Sequence[Row], unit: str, path: str | Path) -> None:
    """Score with its interval over milliseconds per token. Routers have no cost of their own and are left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for row in (row for row in rows if row.tokens_per_second):
        cost, score = 1000 / (row.tokens_per_second or 1), row.score
        spread = [[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]]
        axes.errorbar(cost, score.value, yerr=spread, fmt="o", capsize=3, color=COLOURS[row.kind])
        axes.annotate(row.name, (cost, score.value), xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel="milliseconds per token", ylabel=unit)
    axes.margins(x=0.2, y=0.15)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the plot cannot be written: {path} ({error})") from None
