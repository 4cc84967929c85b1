"""Pictures of a result: speed-ups beside the paper's, curves, the dial between quality and speed, one run in time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unisono.bench.choice import BASELINE, PEER
from unisono.bench.paper import reported
from unisono.errors import ConfigurationError

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#9c6b4e")
KINDS = {  # of what a choice is: colour, and how it is called
    "auto": ("#4269d0", "auto"),
    "drawn": ("#6cc5b0", "drawn"),
    "cos": ("#efb118", "cos"),
    "speculative": ("#ff725c", "speculative"),
    "lookup": ("#a463f2", "lookup"),
    "parallel": ("#9498a0", "parallel"),
    "transformers": ("#9c6b4e", "transformers"),
}
PAPER = {"parallel": "parallel", "speculative": "SD", "cos": "CoS"}
ORIGINS = {"accepted": "o", "redrawn": "x", "drawn": "s"}
AXES = {"draft length": "draft length of the small member", "weight": "weight of the large member", "mu": "mu"}


def draw(document: Mapping[str, Any], folder: Path, kind: str = "svg") -> list[Path]:
    """The files of all pictures that the result has something for; ConfigurationError if one cannot be written."""
    pictures = {"speedups": _speedups(document), "timeline": _timeline(document), "dial": _dial(document)}
    for curve in AXES:
        pictures[curve.replace(" ", "-")] = _curve(document, curve)
    written = []
    for name, figure in pictures.items():
        if figure is not None:
            written.append(_save(figure, folder / f"{name}.{kind}"))
    return written


def _save(figure: Any, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the plot cannot be written: {path} ({error})") from None
    return path


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _tidy(axes: Any, **labels: str) -> None:
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def kind_of(cell: Mapping[str, Any]) -> str:
    """What colour a cell has."""
    label = str(cell["schedule"])
    if label.startswith(PEER):
        return "transformers"
    return "drawn" if label.startswith("risky") else label.partition(":")[0].partition(" ")[0]


def fastest(cells: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The fastest cell of each kind, in the order of `KINDS`; what was compared goes before what was picked from."""
    found: dict[str, Mapping[str, Any]] = {}
    for cell in sorted(cells, key=lambda cell: (cell["stage"] == "compare", cell["speedup"])):
        found[kind_of(cell)] = cell
    return {kind: found[kind] for kind in KINDS if kind in found}


def _speedups(document: Mapping[str, Any]) -> Any:
    """A group of bars per case, with the range that the CoS paper reports for the same method beside it."""
    cases = {name: case for name, case in document["cases"].items() if not case["plot"]}
    if not cases:
        return None
    bars, labels, height = [], [], 0.0
    for name, case in cases.items():
        cells = [cell for cell in document["cells"] if cell["case"] == name and cell["schedule"] != BASELINE]
        paper = _reported(case)
        first = height
        for kind, cell in fastest(cells).items():
            bars.append((height, kind, cell, paper.get(PAPER.get(kind, ""), [])))
            height += 1
        labels.append(((first + height - 1) / 2, name))
        height += 0.8
    figure, axes = _figure(9, 1 + 0.24 * height)
    for place, kind, cell, said in bars:
        axes.barh(place, cell["speedup"], 0.8, color=KINDS[kind][0])
        axes.plot([cell["low"], cell["speedup"]], [place, place], color="black", lw=0.8)
        axes.annotate(
            f" {cell['speedup']:.2f} {cell['schedule']}",
            (max([cell["speedup"], *said]), place),
            va="center",
            fontsize=7,
        )
        if said:
            axes.plot([min(said), max(said)], [place + 0.25] * 2, color="black", lw=2.5, solid_capstyle="butt")
    axes.axvline(1, color="black", lw=0.8)
    axes.set_yticks([place for place, _ in labels], [name for _, name in labels], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.22, y=0.01)
    axes.set_xlim(left=0)
    _tidy(
        axes,
        xlabel="speed-up over standard\nthin line: down to the lower 95% bound; thick line: range in the CoS paper",
    )
    return figure


def _reported(case: Mapping[str, Any]) -> dict[str, list[float]]:
    """The paper's numbers for such a case; it has one row."""
    seconds = [price["1"] for price in case["seconds"]]
    equal = max(seconds) < 2 * min(seconds)
    return reported(case["combine"], len(seconds), case["temperature"], equal) if case["rows"] == 1 else {}


def _position(cell: Mapping[str, Any], curve: str) -> float:
    """Where on the curve's axis a cell is."""
    if curve == "draft length":
        return float(str(cell["schedule"]).split()[0].split(":")[1].split(",")[-1])
    return float(str(cell["combine"]).partition(":")[2].split(",")[0])


def _curve(document: Mapping[str, Any], curve: str) -> Any:
    """Measured speed-ups with their lower bounds, and what the replay promised (dashed)."""
    names = [name for name, case in document["cases"].items() if case["plot"] == curve]
    cells = [cell for cell in document["cells"] if cell["case"] in names and cell["schedule"] != BASELINE]
    lines: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for cell in cells:
        kind = str(cell["schedule"]).partition(":")[0]
        label = f"{cell['combine']}, {kind}" if curve == "draft length" else str(cell["schedule"])
        lines.setdefault(label, []).append((_position(cell, curve), cell))
    if not lines:
        return None
    figure, axes = _figure(6.4, 4)
    for colour, (label, points) in zip(COLOURS, lines.items(), strict=False):
        points.sort(key=lambda point: point[0])
        places = [place for place, _ in points]
        axes.plot(places, [cell["speedup"] for _, cell in points], "o-", color=colour, label=label, ms=4)
        axes.fill_between(
            places, [c["low"] for _, c in points], [c["speedup"] for _, c in points], color=colour, alpha=0.15, lw=0
        )
        promised = [(place, cell["replayed"]) for place, cell in points if cell["replayed"]]
        axes.plot(*zip(*promised, strict=True) if promised else ([], []), "--", color=colour, lw=1)
    axes.axhline(1, color="black", lw=0.8)
    axes.set_xticks(sorted({_position(cell, curve) for cell in cells}))
    axes.legend(fontsize=7, frameon=False)
    _tidy(axes, xlabel=AXES[curve], ylabel="speed-up over standard (dashed: replayed)")
    return figure


def _dial(document: Mapping[str, Any]) -> Any:
    """Bits per byte against speed relative to the large member decoding alone, one point per weight."""
    points = []
    for name, case in document["cases"].items():
        cells = {cell["schedule"]: cell for cell in document["cells"] if cell["case"] == name}
        if "bits per byte" in case and cells[BASELINE]["cost"]:
            chosen = cells[case["schedule"][0]]
            speed = chosen["speedup"] / (1 + chosen["cost"])
            points.append((_position(chosen, "weight"), speed, case["bits per byte"]))
    if not points:
        return None
    figure, axes = _figure(6.4, 4)
    points.sort()
    axes.plot([speed for _, speed, _ in points], [bits for _, _, bits in points], "o-", color=COLOURS[0])
    for weight, speed, bits in points:
        axes.annotate(f"{weight:g}", (speed, bits), xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.invert_yaxis()
    axes.margins(0.15)
    xlabel = "speed over the large member's forward per token (labels: its weight)"
    _tidy(axes, xlabel=xlabel, ylabel="bits per byte (better is up)")
    return figure


def _timeline(document: Mapping[str, Any]) -> Any:
    """A lane per member with its forwards, and one with the tokens as they were committed."""
    if "timeline" not in document:
        return None
    run = document["timeline"]
    names = run["members"]
    figure, axes = _figure(10, 1 + 0.5 * len(names))
    for member, start, end, tokens in run["forwards"]:
        axes.barh(int(member), 1000 * (end - start), 0.7, 1000 * start, color=COLOURS[int(member)], ec="white", lw=0.3)
        axes.annotate(f"{tokens:g}", (500 * (start + end), member), ha="center", va="center", fontsize=5, color="white")
    placed = _side_by_side(run["commits"], 0.008 * max(end for _, _, end, _ in run["forwards"]))
    for origin, marker in ORIGINS.items():
        found = [(at, member) for at, kind, member in placed if kind == origin]
        if not found:
            continue
        colours = ["black" if member is None else COLOURS[member] for _, member in found]
        axes.scatter([at for at, _ in found], [len(names)] * len(found), 14, colours, marker=marker, lw=1, label=origin)
    axes.set_yticks(range(len(names) + 1), [*names, "tokens"], fontsize=8)
    axes.invert_yaxis()
    axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    _tidy(axes, xlabel=f"milliseconds; {run['method']}; numbers: tokens read by a forward")
    return figure


def _side_by_side(commits: Sequence[Sequence[Any]], step: float) -> list[tuple[float, str, int | None]]:
    """Tokens in milliseconds; those that came at once stand beside each other, so far apart."""
    placed: list[tuple[float, str, int | None]] = []
    for at, origin, member in commits:
        after = placed[-1][0] / 1000 + step if placed else 0.0
        placed.append((1000 * max(at, after), origin, member))
    return placed
