"""Plots of a result file: speed-ups, curves, quality against speed, and the timeline of one run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from unisono.bench.choice import BASELINE, PEER
from unisono.errors import ConfigurationError

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#9c6b4e")
KINDS = {  # the colour of each kind of choice, in the order of the bars
    "auto": "#4269d0",
    "drawn": "#6cc5b0",
    "cos": "#efb118",
    "speculative": "#ff725c",
    "lookup": "#a463f2",
    "parallel": "#9498a0",
    "transformers": "#9c6b4e",
}
REPORTED = Path(__file__).parent / "data" / "paper.yaml"
PAPER = {"parallel": "parallel", "speculative": "SD", "cos": "CoS"}  # names of the methods in the CoS paper
ORIGINS = {"accepted": "o", "redrawn": "x", "drawn": "s"}
AXES = {
    "draft length": "draft length of the small member",
    "weight": "weight of the large member",
    "mu": "mu",
}


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw each plot for which the document has data. Write each plot to an SVG file, and return the paths.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    figures = {"speedups": _speedups(document), "timeline": _timeline(document), "dial": _dial(document)}
    figures |= {curve.replace(" ", "-"): _curve(document, curve) for curve in AXES}
    return [_saved(figure, folder / f"{name}.svg") for name, figure in figures.items() if figure is not None]


def _saved(figure: Any, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, metadata={"Date": None})
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the plot cannot be written: {path} ({error})") from None
    return path


def _axes(width: float, height: float, **labels: str) -> Any:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(width, height), layout="constrained").subplots()
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return axes


def _measured(document: Mapping[str, Any], *names: str) -> list[Mapping[str, Any]]:
    """Return the cells of the named cases, without the cells of the baseline."""
    return [cell for cell in document["cells"] if cell["case"] in names and cell["schedule"] != BASELINE]


def _kind(cell: Mapping[str, Any]) -> str:
    label = str(cell["schedule"])
    if label.startswith(PEER):
        return "transformers"
    return "drawn" if label.startswith("risky") else label.partition(":")[0].partition(" ")[0]


def _fastest(cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return each kind of choice with its fastest cell, in the order of `KINDS`.

    A cell of the stage `compare` is preferred to a faster cell of the stage `pick`.
    """
    found = {_kind(cell): cell for cell in sorted(cells, key=lambda c: (c["stage"] == "compare", c["speedup"]))}
    return [(kind, found[kind]) for kind in KINDS if kind in found]


def _speedups(document: Mapping[str, Any]) -> Any:
    """Draw a group of bars for each case. A thick line next to a bar shows the range that the CoS paper reports."""
    cases = {name: case for name, case in document["cases"].items() if not case["plot"]}
    if not cases:
        return None
    bars, labels, height = [], [], 0.0
    for name, case in cases.items():
        paper, first = _reported(case), height
        for kind, cell in _fastest(_measured(document, name)):
            bars.append((height, kind, cell, paper.get(PAPER.get(kind, ""), [])))
            height += 1
        labels.append(((first + height - 1) / 2, name))
        height += 0.8
    legend = "thin line: down to the lower 95% bound; thick line: range in the CoS paper"
    axes = _axes(9, 1 + 0.24 * height, xlabel=f"speed-up over standard\n{legend}")
    for place, kind, cell, reported in bars:
        _bar(axes, place, KINDS[kind], cell, reported)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_yticks([place for place, _ in labels], [name for _, name in labels], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.22, y=0.01)
    axes.set_xlim(left=0)
    return axes.figure


def _bar(axes: Any, place: float, colour: str, cell: Mapping[str, Any], reported: Sequence[float]) -> None:
    speedup = cell["speedup"]
    axes.barh(place, speedup, 0.8, color=colour)
    axes.plot([cell["low"], speedup], [place, place], color="black", lw=0.8)
    text = f" {speedup:.2f} {cell['schedule']}"
    axes.annotate(text, (max([speedup, *reported]), place), va="center", fontsize=7)
    if reported:
        axes.plot([min(reported), max(reported)], [place + 0.25] * 2, color="black", lw=2.5, solid_capstyle="butt")


def _reported(case: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return, for each method, the speed-ups that the CoS paper reports for cases like `case`, over all models and
    tasks.

    The paper measures one row, and the members of its weighted ensembles have about equal costs. So the result is empty
    if `case` has several rows, or if it is a weighted ensemble in which the slowest member takes at least twice the
    time of the fastest one.
    """
    seconds = [price["1"] for price in case["seconds"]]
    combination = (case["combine"] or "weighted").partition(":")[0]
    if case["rows"] > 1 or (combination == "weighted" and max(seconds) >= 2 * min(seconds)):
        return {}
    wanted = {"combination": combination, "members": len(seconds), "temperature": case["temperature"]}
    found: dict[str, list[float]] = {}
    for each in yaml.safe_load(REPORTED.read_text(encoding="utf-8")):
        for method, values in each["speedups"].items() if wanted.items() <= each.items() else ():
            found.setdefault(method, []).extend(values)
    return found


def _position(cell: Mapping[str, Any], curve: str) -> float:
    """Return the x coordinate of a cell on a curve."""
    if curve == "draft length":
        return float(str(cell["schedule"]).split()[0].split(":")[1].split(",")[-1])
    return float(str(cell["combine"]).partition(":")[2].split(",")[0])


def _curve(document: Mapping[str, Any], curve: str) -> Any:
    """Draw the measured speed-ups with their lower bounds. Draw the replayed speed-ups as dashed lines."""
    cells = _measured(document, *(name for name, case in document["cases"].items() if case["plot"] == curve))
    lines: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for cell in cells:
        kind = str(cell["schedule"]).partition(":")[0]
        label = f"{cell['combine']}, {kind}" if curve == "draft length" else str(cell["schedule"])
        lines.setdefault(label, []).append((_position(cell, curve), cell))
    if not lines:
        return None
    axes = _axes(6.4, 4, xlabel=AXES[curve], ylabel="speed-up over standard (dashed: replayed)")
    for colour, (label, points) in zip(COLOURS, lines.items(), strict=False):
        points.sort(key=lambda point: point[0])
        places = [place for place, _ in points]
        speedups, lows = ([cell[key] for _, cell in points] for key in ("speedup", "low"))
        axes.plot(places, speedups, "o-", color=colour, label=label, ms=4)
        axes.fill_between(places, lows, speedups, color=colour, alpha=0.15, lw=0)
        replayed = [(place, cell["replayed"]) for place, cell in points if cell["replayed"]]
        axes.plot(*zip(*replayed, strict=True) if replayed else ([], []), "--", color=colour, lw=1)
    axes.axhline(1, color="black", lw=0.8)
    axes.set_xticks(sorted({_position(cell, curve) for cell in cells}))
    axes.legend(fontsize=7, frameon=False)
    return axes.figure


def _dial(document: Mapping[str, Any]) -> Any:
    """Draw bits per byte against the speed relative to the large member alone.

    Each point is the result for one weight of the large member.
    """
    points = []
    for name, case in document["cases"].items():
        cells = {cell["schedule"]: cell for cell in document["cells"] if cell["case"] == name}
        if "bits per byte" in case and cells[BASELINE]["cost"]:
            chosen = cells[case["schedule"][0]]
            speed = chosen["speedup"] / (1 + chosen["cost"])
            points.append((_position(chosen, "weight"), speed, case["bits per byte"]))
    if not points:
        return None
    xlabel = "speed over the large member's forward per token (labels: its weight)"
    axes = _axes(6.4, 4, xlabel=xlabel, ylabel="bits per byte (better is up)")
    weights, speeds, bits = zip(*sorted(points), strict=True)
    axes.plot(speeds, bits, "o-", color=COLOURS[0])
    for weight, *point in zip(weights, speeds, bits, strict=True):
        axes.annotate(f"{weight:g}", point, xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.invert_yaxis()
    axes.margins(0.15)
    return axes.figure


def _timeline(document: Mapping[str, Any]) -> Any:
    """Draw one lane for the forwards of each member, and one lane for the committed tokens."""
    if "timeline" not in document:
        return None
    run = document["timeline"]
    names = run["members"]
    xlabel = f"milliseconds; {run['method']}; numbers: tokens read by a forward"
    axes = _axes(10, 1 + 0.5 * len(names), xlabel=xlabel)
    for member, start, end, tokens in run["forwards"]:
        axes.barh(int(member), 1000 * (end - start), 0.7, 1000 * start, color=COLOURS[int(member)], ec="white", lw=0.3)
        middle = (500 * (start + end), member)
        axes.annotate(f"{tokens:g}", middle, ha="center", va="center", fontsize=5, color="white")
    placed = _side_by_side(run["commits"], 8 * max(end for _, _, end, _ in run["forwards"]))
    for origin, marker in ORIGINS.items():
        found = [(at, "black" if member is None else COLOURS[member]) for at, kind, member in placed if kind == origin]
        if found:
            places, colours = zip(*found, strict=True)
            axes.scatter(places, [len(names)] * len(places), 14, colours, marker=marker, lw=1, label=origin)
    axes.set_yticks(range(len(names) + 1), [*names, "tokens"], fontsize=8)
    axes.invert_yaxis()
    axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return axes.figure


def _side_by_side(commits: Sequence[Sequence[Any]], step: float) -> list[tuple[float, str, int | None]]:
    """Return the time in ms, the origin and the member of each token.

    A time is increased if it is less than `step` ms after the time of the previous token.
    """
    placed: list[tuple[float, str, int | None]] = []
    for seconds, origin, member in commits:
        after = placed[-1][0] + step if placed else 0.0
        placed.append((max(1000 * seconds, after), origin, member))
    return placed
