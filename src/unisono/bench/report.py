"""The text form of a result, for terminals and Markdown: a table for each case, and the figures with their goals."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from unisono.bench.choice import BASELINE

COLUMNS = ("schedule", "speed-up", "at least", "paper's formula", "replayed", "acceptance", "cost", "forwards/token")
KEYS = ("speedup", "low", "predicted", "replayed", "acceptance", "cost")
NEVER = 0.97  # goal for the lower bound of the speed-up of `auto` over `standard`, in each case
CLOSE, LEAST = 0.97, 0.92  # goals for `auto` / best fixed choice: geometric mean of all cases, each case
AGREES = (0.9, 1.1)  # goal for measured speed-ups divided by replayed speed-ups


@dataclass(frozen=True)
class Figure:
    """A measured value with its goal.

    The goal is a value from `least` to `most`. `beside` has published values from other reports, for comparison.
    """

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    beside: str = ""

    @property
    def bar(self) -> str:
        if self.least is None:
            return "-"
        return f">= {self.least:g}" if self.most is None else f"{self.least:g} to {self.most:g}"

    @property
    def met(self) -> str:
        if self.least is None:
            return "-"
        return "yes" if self.least <= self.value <= (self.most or self.value) else "no"


def table(cells: Sequence[Mapping[str, Any]], members: Sequence[str] = ()) -> Table:
    """Return the cells of one case as a table for a terminal. For each member, a column has its forwards per token."""
    found = Table(*COLUMNS[:-1], *(f"{name}/token" for name in members))
    for cell in cells:
        forwards = [f"{each:.2f}" for each in cell["forwards"]] or ["-" for _ in members]
        found.add_row(cell["schedule"], *_numbers(cell, KEYS), *forwards)
    return found


def show_predictions(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the replayed speed-ups in `rows`, best first. Then print the measured `facts` about the members."""
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    found = Table("schedule", "speed-up, replayed", "closed formula")
    ranked = sorted(rows, key=lambda row: -(row["replayed"] or 0))
    for row in ranked:
        found.add_row(row["schedule"], *_numbers(row, ("replayed", "formula")))
    console.print(found)
    for name, share, spent in zip(facts["members"], facts["acceptances"], facts["milliseconds"], strict=True):
        console.print(f"{name}: {spent:.1f} ms per forward; expected acceptance of its proposals: {share:.2f}")
    if facts["cost"] is not None:
        console.print(f"cost ratio, the proposer's forward over the other's: {facts['cost']:.2f}")
    best = ranked[0]
    if (best["replayed"] or 0) > 1 and best["schedule"] != BASELINE:
        console.print(f"{best['schedule']} should be fastest: {best['replayed']:.2f} times the speed of {BASELINE}")
    else:
        console.print(f"no schedule should be faster than {BASELINE}")


def markdown(document: Mapping[str, Any]) -> str:
    """Return the whole result as Markdown: the figures, a table for each case and stage, and the provenance."""
    rows = [[each.name, f"{each.value:.3g}", each.bar, each.met, each.beside or "-"] for each in figures(document)]
    lines = _lines(("figure", "measured", "bar", "met", "for comparison"), rows) if rows else []
    for name, case in document["cases"].items():
        lines += ["", f"### {name}", "", _about(case), ""]
        stages: dict[str, list[list[str]]] = {}
        for cell in (cell for cell in document["cells"] if cell["case"] == name):
            stages.setdefault(cell["stage"], []).append(_row(cell))
        for found in stages.values():
            lines += [*_lines(COLUMNS, found), ""]
    lines += [_law(document["peer law"]), ""] if "peer law" in document else []
    return "\n".join([*lines, origin(document)]) + "\n"


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def _row(cell: Mapping[str, Any]) -> list[str]:
    uses = f" ({_uses(cell)})" if cell["schedule"] == "auto" else ""
    forwards = " + ".join(f"{each:.2f}" for each in cell["forwards"]) or "-"
    return [f"`{cell['schedule']}`{uses}", *_numbers(cell, KEYS), forwards]


def _uses(cell: Mapping[str, Any]) -> str:
    """Return the combination, the verification and the three most frequent plans of a cell that measured `auto`."""
    combination, _, verification = cell["uses"].split(" ")
    plans = [f"{name} {share:.0%}" for name, share in list(cell.get("plans", {}).items())[:3]]
    return f"{combination}, {verification}: {', '.join(plans)}"


def _numbers(cell: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return ["-" if cell[key] is None else f"{cell[key]:.2f}" for key in keys]


def _about(case: Mapping[str, Any]) -> str:
    members = " + ".join(name.removeprefix("zoo:") for name in case["members"])
    rows, prompts = f"{case['rows']} row(s)", f"prompts: {case['prompts']}"
    picked = f" Picked: `{case['picked']}`." if "picked" in case else ""
    shares = ", ".join(f"{share:.2f}" for share in case["acceptances"])
    return (
        f"{members}, `{case['combine']}`, T={case['temperature']:g}, {rows}, {prompts}.{picked}"
        f" Expected acceptance of each member's proposals: {shares}."
    ) + "".join(f" Skipped: {name}, {reason}." for name, reason in case["skipped"].items())


def _law(shares: Mapping[str, float]) -> str:
    found = "; ".join(f"{name} {share:.3f}" for name, share in shares.items() if name != "tokens")
    return (
        f"Two models with constant laws (.9, .1) and (.1, .9), mixed half and half: share of the first token among "
        f"{shares['tokens']:g}: {found}."
    )


def origin(document: Mapping[str, Any]) -> str:
    """Return the command, commit, date, versions and machine of a result as one line."""
    commit = document["commit"] or "unknown"
    commit = commit[:9] + "+" * commit.endswith("+")  # "+" means uncommitted changes
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)
    return (
        f"`{document['command']}`, commit {commit}, {document['time'][:10]}; {versions}; Python "
        f"{document['python']}; {document['cpu']}, {document['cores']} cores"
    )


def figures(document: Mapping[str, Any]) -> list[Figure]:
    """Return the figures of a result: speed-ups with a goal, and measured speed-ups divided by predicted speed-ups."""
    measured = [cell for cell in document["cells"] if cell["stage"] == "compare" and cell["schedule"] != BASELINE]
    found = list(_bars(document, measured))
    automatic = [cell for cell in measured if cell["schedule"] == "auto"]
    if automatic:
        worst = min(automatic, key=lambda cell: float(cell["low"]))
        found.append(Figure(f"auto / standard, lower bound, least of all cells ({worst['case']})", worst["low"], NEVER))
    gains = {name: float(case["over picked"]) for name, case in document["cases"].items() if "over picked" in case}
    if gains:
        mean, name = statistics.geometric_mean(gains.values()), min(gains, key=gains.__getitem__)
        found.append(Figure("auto / best fixed choice, geometric mean", mean, CLOSE))
        found.append(Figure(f"auto / best fixed choice, least ({name})", gains[name], LEAST))
    for key, title, bar in (("replayed", "replayed", AGREES), ("predicted", "the paper's formula", (None, None))):
        shares = [cell["speedup"] / cell[key] for cell in measured if cell[key]]
        for what, value in (("median", statistics.median), ("least", min), ("most", max)) if shares else ():
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
    """Return the speed-ups from other reports as text. Each value of `reported` is a number or a range."""
    shown = {name: value if isinstance(value, list) else [value] for name, value in reported.items()}
    return ", ".join(f"{name} {' to '.join(f'{each:g}' for each in values)}" for name, values in shown.items())
