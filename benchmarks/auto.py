"""The speed of `auto`: over `standard`, over the best fixed schedule, over one model alone.

    python benchmarks/auto.py --output benchmarks/results/auto.json                    # everything: several hours
    python benchmarks/auto.py --parts standard --cells "zoo x8 *" --output FILE        # some cells of one part
    python benchmarks/auto.py --list                                                   # the parts and cells
    python benchmarks/auto.py --summary FILE                                           # the table of a file

The cells are in auto_cells.py, the members and prompts in auto_pairs.py. In each repeat, `auto` and its rivals decode the
same prompts, 64 tokens per row, without a seed. Their order changes from repeat to repeat. A repeat has several calls of
`generate` if a call has fewer than four rows. Each call has a new ensemble of the loaded members, so `auto` has measured
nothing before. Forwards are compiled and every choice has run once before. A ratio is the geometric mean over repeats of
tokens per second of `auto` over those of the rival. Its 95% interval is the t interval of the mean of the logarithms. A
cell ends after at least 6 repeats if its intervals are at most 0.06 wide, and after 30 repeats in any case.

The file is written after every repeat. The same command continues a file. A file has runs of one commit and one machine.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import auto_pairs
from auto_cells import MEANS, PARTS, PICKED, Cell, Rival
from rich.console import Console
from rich.table import Table
from two_commits import save, tell

from unisono import Ensemble, SamplingParams
from unisono.bench import measure, predict, replay
from unisono.bench.choice import Choice
from unisono.bench.measure import Run
from unisono.bench.provenance import provenance

FACTS = ("commit", "versions", "python", "cpu", "cores", "threads", "gpu")  # equal in all runs of a file
LEAST, MOST, WIDTH = 6, 30, 0.06  # repeats, and the width of an interval at which a cell ends
PICKS = 3  # repeats of the run that picks a fixed choice
ROWS = 4  # the least number of rows that a repeat decodes
AUTO = "auto"
RISKY = range(9)  # the draft lengths for which the closed formula is computed
QUANTILES = (  # 97.5% of the t distribution with 1, 2, ... degrees of freedom
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)  # fmt: skip
Sides = Mapping[
    str, tuple[str, str]
]  # the name of a side -> the pair that it decodes with (a key of `PAIRS`), and its schedule


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of at least two ratios, and the ends of its 95% interval."""
    logs = [math.log(ratio) for ratio in ratios]
    middle, count = statistics.mean(logs), len(logs)
    half = QUANTILES[min(count - 1, len(QUANTILES)) - 1] * statistics.stdev(logs) / math.sqrt(count)
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def ended(ratios: Mapping[str, Mapping[str, float]], count: int, least: int = LEAST, most: int = MOST) -> bool:
    """Return whether a cell with `count` repeats needs no further repeat."""
    narrow = all(each["high"] - each["low"] <= WIDTH for each in ratios.values())
    return count >= most or (count >= least and narrow)


def compared(rivals: Mapping[str, Rival], speeds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Return, for each rival, the ratio, its interval, and whether the bars are reached; nothing before two repeats.

    Args:
        speeds: for `auto` and each rival, the tokens per second in each repeat.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, rival in rivals.items() if len(speeds.get(AUTO, ())) > 1 else ():
        values = interval([mine / other for mine, other in zip(speeds[AUTO], speeds[name], strict=True)])
        bars = {key: getattr(rival, key) for key in ("ratio", "low", "high") if getattr(rival, key) is not None}
        held = rival.holds(values) if bars else None
        found[name] = {**dict(zip(("ratio", "low", "high"), values, strict=True)), "bars": bars, "holds": held}
    return found


def opened(path: Path, tokens: int) -> dict[str, Any]:
    """Return the document of a file, or a new document. Every run is added to its list of commands."""
    facts = {
        **provenance(),
        "tokens": tokens,
        "members": {name: asdict(pair) for name, pair in auto_pairs.PAIRS.items()},
    }
    named = {part: [cell.name for cell in cells] for part, cells in PARTS.items()}
    empty = {"commands": [], "named": named, "picks": {}, "cells": {}, "figures": {}}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {**facts, **empty}
    differing = [key for key in (*FACTS, "tokens") if document[key] != facts[key]]
    if differing or document["named"] != named:
        raise SystemExit(f"the file holds runs with another {', '.join(differing) or 'list of cells'}: {path}")
    document["commands"].append({key: facts[key] for key in ("command", "time")})
    return document


class Bench:
    """Measures cells and writes the results to the document and its file.

    Args:
        least, most: the smallest and the largest number of repeats of a cell.
    """

    def __init__(self, path: Path, document: dict[str, Any], least: int, most: int) -> None:
        self.path, self.document, self.least, self.most = path, document, least, most
        self.loaded: dict[str, Ensemble] = {}

    def run(self, cells: Sequence[Cell]) -> None:
        """Pick the fixed choices of all cells that need one. Then measure every cell that has not ended."""
        save(self.path, self.document)
        picks = self.document["picks"]
        for cell in [cell for cell in cells if cell.fixed and cell.name not in picks.get(cell.part, {})]:
            picks.setdefault(cell.part, {})[cell.name] = self.pick(cell)
            save(self.path, self.document)
        for cell in cells:
            self.measure(cell)

    def pick(self, cell: Cell) -> dict[str, Any]:
        """Return the speeds of the fixed choices of a cell, in tokens per second, and the fastest choice."""
        sides = {choice: (cell.pair, choice) for choice in cell.fixed}
        self.repeat(cell, sides, -1)
        repeats = [self.repeat(cell, sides, index) for index in range(PICKS)]
        speeds = {name: statistics.geometric_mean(speed(each[name]) for each in repeats) for name in sides}
        picked = max(speeds, key=speeds.__getitem__)
        tell(f"{cell.part}: {cell.name}: the fastest fixed choice is {picked}")
        return {"picked": picked, "speeds": speeds}

    def measure(self, cell: Cell) -> None:
        """Run the repeats of a cell that the document does not have yet."""
        empty: dict[str, Any] = {"speeds": {}, "counts": {}, "ratios": {}}
        found = self.document["cells"].setdefault(cell.part, {}).setdefault(cell.name, empty)
        picked = self.document["picks"].get(cell.part, {}).get(cell.name, {}).get("picked")
        rivals = {each.name: replace(each, choice=picked) if each.choice == PICKED else each for each in cell.rivals}
        sides = {AUTO: (cell.pair, AUTO), **{k: (each.members or cell.pair, each.choice) for k, each in rivals.items()}}
        started, before = time.monotonic(), len(found["speeds"].get(AUTO, ()))
        count = before
        while not ended(found["ratios"], count, self.least, self.most):
            if count == before:
                self.repeat(cell, sides, -1)  # fills caches, starts threads
            if cell.bound and "bound" not in found:
                found["bound"] = self.bound(cell)
            for name, runs in self.repeat(cell, sides, count).items():
                found["speeds"].setdefault(name, []).append(speed(runs))
                found["counts"][name] = counted(runs, found["counts"].get(name, {}))
            found["ratios"], count = compared(rivals, found["speeds"]), count + 1
            self.document["figures"] = means(self.document["cells"])
            save(self.path, self.document)
        values = "; ".join(
            "{ratio:.3f} [{low:.3f}, {high:.3f}] over ".format(**each) + name for name, each in found["ratios"].items()
        )
        spent = time.monotonic() - started
        tell(f"{cell.part}: {cell.name}: {values}; {count - before} repeats in {spent:.0f} s")

    def repeat(self, cell: Cell, sides: Sides, index: int) -> dict[str, list[Run]]:
        """Return, for every side, the runs that decoded the prompts of the repeat `index`."""
        self._load({pair for pair, _ in sides.values()})
        prompts, calls = auto_pairs.prompts(cell.prompts), max(1, ROWS // cell.rows)
        params = SamplingParams(
            max_tokens=self.document["tokens"], temperature=cell.temperature, top_p=cell.top_p, ignore_eos=True
        )
        runs: dict[str, list[Run]] = {name: [] for name in sides}
        for call in range(index * calls, (index + 1) * calls):
            group = [prompts[place % len(prompts)] for place in range(call * cell.rows, (call + 1) * cell.rows)]
            turn = call % len(sides)
            for name in [*list(sides)[turn:], *list(sides)[:turn]]:
                pair, choice = sides[name]
                ensemble = auto_pairs.fresh(self.loaded[pair], cell.rows)
                given = {"combine": cell.combine}
                runs[name].append(measure.run_once(ensemble, group, params, Choice.parse(choice), given))
        return runs

    def bound(self, cell: Cell) -> dict[str, float]:
        """Return the gain of drafts over `drawn` without drafts by the closed formula, for the best draft length.

        agreement: 1 - TV of the two members. cost: the time of a forward of the proposer over that of the other member.
        """
        texts = auto_pairs.prompts(cell.prompts)[:6]
        params = SamplingParams(max_tokens=self.document["tokens"], temperature=cell.temperature)
        found = replay.record(auto_pairs.fresh(self.loaded[cell.pair], 1), texts, params)
        agreement, cost = found.agreement(0, 1), found.cost
        assert cost is not None  # there are two members
        speeds = [predict.risky(agreement, cost, 0.5, length) for length in RISKY]
        return {
            "gain": max(speeds) / speeds[0],
            "length": speeds.index(max(speeds)),
            "agreement": agreement,
            "cost": cost,
        }

    def _load(self, names: set[str]) -> None:
        """Load what is missing. Members that are not in `names` are dropped first, to free their memory."""
        if names - self.loaded.keys():
            self.loaded = {name: each for name, each in self.loaded.items() if name in names}
            auto_pairs.free()
            for name in names - self.loaded.keys():
                tell(f"loading {name}")
                self.loaded[name] = auto_pairs.load(name)


def speed(runs: Sequence[Run]) -> float:
    """Return the tokens per second of several runs together."""
    return sum(run.tokens for run in runs) / sum(run.seconds for run in runs)


def counted(runs: Sequence[Run], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of the counts of runs and of earlier counts, and the method that was used."""
    members = [before.get("forwards", [0] * len(runs[0].forwards)), *(run.forwards for run in runs)]
    return {
        "method": " ".join(runs[0].names.values()),
        "tokens": before.get("tokens", 0) + sum(run.tokens for run in runs),
        "forwards": [sum(each) for each in zip(*members, strict=True)],
        "plans": dict(sum((Counter(run.plans) for run in runs), Counter(before.get("plans", {})))),
    }


def means(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the geometric means of `MEANS` whose cells all have a ratio."""
    figures = {}
    for name, (bar, part, names) in MEANS.items():
        found = [cells.get(part, {}).get(each, {}).get("ratios", {}) for each in names]
        if all(found):
            mean = statistics.geometric_mean(next(iter(each.values()))["ratio"] for each in found)
            figures[name] = {"ratio": mean, "bar": bar, "holds": mean >= bar}
    return figures


def table(document: Mapping[str, Any]) -> Table:
    """Return the ratios of a document for a terminal."""
    title = f"tokens/s of auto over those of its rival; commit {(document['commit'] or 'unknown')[:10]}"
    columns = ("part", "cell", "rival", "ratio", "95% interval", "bars", "holds", "repeats", "tokens/s")
    found = Table(*columns, title=title)
    verdict = {None: "-", True: "yes", False: "NO"}
    for part, cells in document["cells"].items():
        picks = document["picks"].get(part, {})
        for name, cell in cells.items():
            for rival, each in cell["ratios"].items():
                label = f"{rival}: {picks[name]['picked']}" if rival == PICKED else rival
                bars = ", ".join(f"{key} {bar:g}" for key, bar in each["bars"].items())
                ends = f"{each['low']:.3f} to {each['high']:.3f}"
                speeds = cell["speeds"][AUTO]
                counts = str(len(speeds)), f"{statistics.geometric_mean(speeds):.1f}"
                found.add_row(
                    part, name, label, f"{each['ratio']:.3f}", ends, bars or "-", verdict[each["holds"]], *counts
                )
            if "bound" in cell:
                found.add_row(part, name, "closed formula", f"{cell['bound']['gain']:.3f}")
    for name, each in document["figures"].items():
        bar = f"ratio {each['bar']:g}"
        found.add_row("mean", name, "", f"{each['ratio']:.3f}", "", bar, verdict[each["holds"]])
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--cells", nargs="+", default=["*"], help='names or patterns, as in "zoo x8 T=1" or "90M *"')
    parser.add_argument("--tokens", type=int, default=64, help="per row")
    parser.add_argument("--least", type=int, default=LEAST, help="repeats of a cell, at least")
    parser.add_argument("--most", type=int, default=MOST, help="repeats of a cell, at most")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--list", action="store_true", help="print the parts and cells")
    parser.add_argument("--summary", type=Path, help="print the table of this file")
    asked = parser.parse_args()
    cells = [cell for part in asked.parts for cell in PARTS[part]]
    asked.cells = [cell for cell in cells if any(fnmatchcase(cell.name, pattern) for pattern in asked.cells)]
    if not (asked.summary or asked.list or asked.output):
        parser.error("give --output FILE, --list, or --summary FILE")
    if not asked.cells or asked.tokens < 1 or not 2 <= asked.least <= asked.most:
        parser.error("no cell has such a name, or a number is too small: --tokens 1, --least 2, --most as --least")
    return asked


def main() -> None:
    """Measure the cells that are not complete, and print the table."""
    asked = arguments()
    if asked.list:
        print("\n".join(f"{cell.part}: {cell.name}" for cell in asked.cells))
        return
    if asked.summary:
        document = json.loads(asked.summary.read_text(encoding="utf-8"))
    else:
        document = opened(asked.output, asked.tokens)
        Bench(asked.output, document, asked.least, asked.most).run(asked.cells)
    Console(width=None if sys.stdout.isatty() else 160).print(table(document))


if __name__ == "__main__":
    main()
