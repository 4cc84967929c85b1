"""A result as text: its cells, and its figures beside their bars, for terminals and Markdown."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from unisono.bench.choice import BASELINE

COLUMNS = ("schedule", "speed-up", "at least", "paper's formula", "replayed", "acceptance", "cost", "forwards/token")
NEVER = 0.97  # of standard: what the lower bound of `auto` has to reach
CLOSE, LEAST = 0.97, 0.92  # of the best fixed choice: on average, and in any case
AGREES = (0.9, 1.1)  # measured over predicted


@dataclass(frozen=True)
class Figure:
    """One number of the issue of this benchmark: what was measured, and what it has to be."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    beside: str = ""  # what others report

    @property
    def bar(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return "-" if self.least is None else f">= {self.least:g}"

    @property
    def met(self) -> str:
        if self.least is None:
            return "-"
        return "yes" if self.least <= self.value <= (self.most or self.value) else "no"


def table(cells: Sequence[Mapping[str, Any]], members: Sequence[str] = ()) -> Table:
    """For a terminal: the cells of one case, with each member's forwards per token in a column of its own."""
    found = Table(*COLUMNS[:-1], *(f"{name}/token" for name in members))
    for cell in cells:
        forwards = [f"{each:.2f}" for each in cell["forwards"]] or ["-" for _ in members]
        found.add_row(cell["schedule"], *_numbers(cell), *forwards)
    return found


def show_predictions(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """What a record promises, best first, and what follows from it."""
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    found = Table("schedule", "speed-up, replayed", "closed formula")
    for row in sorted(rows, key=lambda row: -(row["replayed"] or 0)):
        found.add_row(
            row["schedule"], *("-" if row[key] is None else f"{row[key]:.2f}" for key in ("replayed", "formula"))
        )
    console.print(found)
    for name, share, spent in zip(facts["members"], facts["acceptances"], facts["milliseconds"], strict=True):
        console.print(f"{name}: {spent:.1f} ms per forward; of what it proposes stands {share:.2f}")
    if facts["cost"] is not None:
        console.print(f"cost ratio, the proposer's forward over the other's: {facts['cost']:.2f}")
    best = max(rows, key=lambda row: row["replayed"] or 0)
    if best["replayed"] and best["replayed"] > 1 and best["schedule"] != BASELINE:
        console.print(f"{best['schedule']} should pay most: {best['replayed']:.2f} times the speed of {BASELINE}")
    else:
        console.print(f"no schedule should be faster than {BASELINE}")


def markdown(document: Mapping[str, Any]) -> str:
    """The whole result: figures, then a table per case, then where it all comes from."""
    found = figures(document)
    lines = figure_table(found) if found else []
    for name, case in document["cases"].items():
        lines += ["", f"### {name}", "", _about(case), ""]
        for stage in dict.fromkeys(cell["stage"] for cell in document["cells"] if cell["case"] == name):
            lines += cell_table([c for c in document["cells"] if (c["case"], c["stage"]) == (name, stage)])
            lines.append("")
    lines += [_law(document["peer law"]), ""] if "peer law" in document else []
    return "\n".join([*lines, origin(document)]) + "\n"


def figure_table(found: Sequence[Figure]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| figure | measured | bar | met | for comparison |", "|---|---|---|---|---|"]
    for each in found:
        lines.append(f"| {each.name} | {each.value:.3g} | {each.bar} | {each.met} | {each.beside or '-'} |")
    return lines


def cell_table(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown, one row per cell."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for cell in cells:
        uses = f" ({_followed(cell)})" if cell["schedule"] == "auto" else ""
        forwards = " + ".join(f"{each:.2f}" for each in cell["forwards"]) or "-"
        lines.append(f"| `{cell['schedule']}`{uses} | {' | '.join(_numbers(cell))} | {forwards} |")
    return lines


def _followed(cell: Mapping[str, Any]) -> str:
    """The combination and verification of `auto`, and the three plans that it followed most."""
    combination, _, verification = cell["uses"].split(" ")
    plans = [f"{name} {share:.0%}" for name, share in list(cell.get("plans", {}).items())[:3]]
    return f"{combination}, {verification}: {', '.join(plans)}"


def _numbers(cell: Mapping[str, Any]) -> list[str]:
    keys = ("speedup", "low", "predicted", "replayed", "acceptance", "cost")
    return ["-" if cell[key] is None else f"{cell[key]:.2f}" for key in keys]


def _about(case: Mapping[str, Any]) -> str:
    members = " + ".join(name.removeprefix("zoo:") for name in case["members"])
    said = (
        f"{members}, `{case['combine']}`, T={case['temperature']:g}, {case['rows']} row(s), prompts: {case['prompts']}."
    )
    said += f" Picked: `{case['picked']}`." if "picked" in case else ""
    shares = ", ".join(f"{share:.2f}" for share in case["acceptances"])
    said += f" Of what each member proposes stands: {shares}."
    return said + "".join(f" Skipped: {name}, {reason}." for name, reason in case["skipped"].items())


def _law(shares: Mapping[str, float]) -> str:
    said = "; ".join(f"{name} {share:.3f}" for name, share in shares.items() if name != "tokens")
    return (
        f"Two models with constant laws (.9, .1) and (.1, .9), mixed half and half: share of the first token among "
        f"{shares['tokens']:g}: {said}."
    )


def origin(document: Mapping[str, Any]) -> str:
    """Command, commit, date, versions and machine of a result."""
    commit = document["commit"] or "unknown"
    commit = commit[:9] + "+" * commit.endswith("+")  # "+": uncommitted changes
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)
    return (
        f"`{document['command']}`, commit {commit}, {document['time'][:10]}; {versions}; Python "
        f"{document['python']}; {document['cpu']}, {document['cores']} cores"
    )


def figures(document: Mapping[str, Any]) -> list[Figure]:
    """What the cells of a result say about its bars."""
    measured = [cell for cell in document["cells"] if cell["stage"] == "compare" and cell["schedule"] != BASELINE]
    found = list(_bars(document, measured))
    automatic = [cell for cell in measured if cell["schedule"] == "auto"]
    if automatic:
        worst = min(automatic, key=lambda cell: float(cell["low"]))
        found.append(Figure(f"auto / standard, lower bound, least of all cells ({worst['case']})", worst["low"], NEVER))
    gains = {name: case["over picked"] for name, case in document["cases"].items() if "over picked" in case}
    if gains:
        found.append(
            Figure("auto / best fixed choice, geometric mean", statistics.geometric_mean(gains.values()), CLOSE)
        )
        name = min(gains, key=lambda each: float(gains[each]))
        found.append(Figure(f"auto / best fixed choice, least ({name})", gains[name], LEAST))
    for key, title, bar in (("replayed", "replayed", AGREES), ("predicted", "the paper's formula", (None, None))):
        shares = [cell["speedup"] / cell[key] for cell in measured if cell[key]]
        for what, value in (("median", statistics.median), ("least", min), ("most", max)):
            if shares:
                found.append(Figure(f"measured / {title}, {what}", value(shares), *bar))
    return found


def _bars(document: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for name, case in document["cases"].items():
        speeds = {cell["schedule"]: cell["speedup"] for cell in measured if cell["case"] == name}
        for label, least in case["bars"].items():
            if label in speeds:
                yield Figure(f"{name}: {label}", speeds[label], least, beside=_beside(case["beside"]))
        for label, speed in speeds.items():
            schedule, _, rule = label.partition(" ")
            if rule in ("block", "coupled") and f"{schedule} token" in speeds:
                yield Figure(f"{name}: {schedule}, {rule} / token", speed / speeds[f"{schedule} token"])


def _beside(reported: Mapping[str, Any]) -> str:
    """Speed-ups that others report, a number or a range each."""
    shown = {name: value if isinstance(value, list) else [value] for name, value in reported.items()}
    return ", ".join(f"{name} {' to '.join(f'{each:g}' for each in values)}" for name, values in shown.items())
