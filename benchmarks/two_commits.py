"""Does a change cost speed? Two commits side by side, and the old one beside itself.

    python benchmarks/two_commits.py OLD NEW --output benchmarks/results/two-commits.json
    python benchmarks/two_commits.py OLD NEW --cells zoo --pairs 3 --output FILE      # a part of it
    python benchmarks/two_commits.py --summary FILE                                   # the table of a file

Each commit gets a git work tree and a cache folder, and is compiled before anything is timed. A round is three processes in
changing order: OLD, NEW, and OLD again; each runs all cells once (`one_commit.py`), with the round's number as the seed. The
file is written after every process, and the same command goes on where it stopped. A cell holds if the median of NEW/OLD,
in tokens per second, reaches its bar, or the lower quartile of OLD/OLD.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
SIDES = {"old": "old", "new": "new", "again": "old"}  # what runs in a round, and the work tree of each
ORDERS = list(permutations(SIDES))
Cell = tuple[str, int, str]  # pair, rows, schedule
SCHEDULES = ("standard", "cos:1,1", "auto")
CELLS: list[Cell] = [*product(("zoo", "90M"), (1, 8), SCHEDULES), *product(("152k",), (1,), SCHEDULES)]
BARS = {"standard": 0.98, "cos:1,1": 0.98, "auto": 0.96}


def name(cell: Cell) -> str:
    """As in `zoo x8 auto`."""
    pair, rows, schedule = cell
    return f"{pair} x{rows} {schedule}"


def git(*arguments: str) -> str:
    """The output of a git command in this repository; ends the program with git's own message if it fails."""
    outcome = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
    if outcome.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {outcome.stderr.strip()}")
    return outcome.stdout.strip()


@contextmanager
def trees(folder: Path | None, commits: Mapping[str, str]) -> Iterator[Path]:
    """A folder with a work tree per commit: the given one, where they stay, or a temporary one."""
    with tempfile.TemporaryDirectory(prefix="two-commits-") as temporary:
        place = (folder or Path(temporary)).resolve()
        try:
            for side, commit in commits.items():
                if not (place / side).exists():
                    git("worktree", "add", "--detach", str(place / side), commit)
            yield place
        finally:
            for side in () if folder else commits:
                subprocess.run(["git", "worktree", "remove", "--force", str(place / side)], cwd=HERE, check=False)


def run(folder: Path, tree: str, cells: Sequence[Cell], tokens: int, seed: int = 0) -> dict[str, Any]:
    """One process of a work tree: `facts` of the machine and the code, and one of `calls` per cell."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / tree / "src"),
        "XDG_CACHE_HOME": str(folder / f"cache-{tree}"),
        "HF_HUB_OFFLINE": "1",
    }
    asked = json.dumps({"cells": cells, "tokens": tokens, "seed": seed})
    command = [sys.executable, str(HERE / "one_commit.py")]
    outcome = subprocess.run(command, env=environment, input=asked, stdout=subprocess.PIPE, text=True, check=False)
    if outcome.returncode:
        raise SystemExit(f"the {tree} commit cannot be measured, see above")
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def opened(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The document in a file, or a new one."""
    fresh = {"command": " ".join(["python", *sys.argv]), "conditions": expected, "runs": [], "figures": {}}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else fresh
    if document["conditions"] != expected:
        raise SystemExit(f"the file holds runs of other commits, cells, tokens or machines; name another one: {path}")
    return document


def save(path: Path, document: Mapping[str, Any]) -> None:
    """Write all of it or nothing."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def conditions(folder: Path, commits: Mapping[str, str], cells: Sequence[Cell], tokens: int) -> dict[str, Any]:
    """All that the runs of one file have in common: what is measured, and the code and the machine of each commit."""
    facts = {side: run(folder, side, [], 0)["facts"] for side in commits}
    for side, commit in commits.items():
        if facts[side]["commit"] != commit:
            raise SystemExit(f"the work tree holds another commit or has changes; remove it: {folder / side}")
    return {"tokens": tokens, "cells": [name(cell) for cell in cells], **facts}


def compare(asked: argparse.Namespace, folder: Path, commits: Mapping[str, str]) -> dict[str, Any]:
    """Run what the output file does not hold yet; returns its document."""
    document = opened(asked.output, conditions(folder, commits, asked.cells, asked.tokens))
    done = [(each["round"], each["side"]) for each in document["runs"]]
    wanted = [(index, side) for index in range(asked.pairs) for side in ORDERS[index % len(ORDERS)]]
    missing = [each for each in wanted if each not in done]
    for side in commits if missing else ():
        tell(f"loading and compiling {side} {commits[side][:9]}")
        run(folder, side, asked.cells, 0)
    began = time.monotonic()
    for count, (index, side) in enumerate(missing, 1):
        calls = run(folder, SIDES[side], asked.cells, asked.tokens, index)["calls"]
        found = dict(zip(document["conditions"]["cells"], calls, strict=True))
        document["runs"].append({"round": index, "side": side, "cells": found})
        document["figures"] = figures(document)
        save(asked.output, document)
        each = (time.monotonic() - began) / count
        left = each * (len(missing) - count) / 60
        tell(f"round {index + 1} of {asked.pairs}, {side}; {each:.0f} s per process, {left:.0f} min left")
    return document


def figures(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Per cell what the rounds give of which all three processes have run; nothing before the first."""
    rounds: dict[int, dict[str, Any]] = {}
    for each in document["runs"]:
        rounds.setdefault(each["round"], {})[each["side"]] = each["cells"]
    whole = [sides for sides in rounds.values() if len(sides) == len(SIDES)]
    names = document["conditions"]["cells"] if whole else ()
    return {
        cell: figure(cell, [{side: found[cell] for side, found in sides.items()} for sides in whole]) for cell in names
    }


def figure(cell: str, rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """One cell's figures.

    outside: microseconds per token outside of forwards, medians of OLD and NEW. outside_ratio: the median of NEW/OLD of
    these, round by round; outside_noise: the middle half of OLD/OLD.
    """
    speeds = {side: np.array([each[side]["tokens"] / each[side]["seconds"] for each in rounds]) for side in SIDES}
    ratio = float(np.median(speeds["new"] / speeds["old"]))
    low, high = np.quantile(speeds["again"] / speeds["old"], [0.25, 0.75]).tolist()
    bar = BARS[cell.split()[-1]]
    each = {side: np.array([1e6 * run[side]["outside"] / run[side]["tokens"] for run in rounds]) for side in SIDES}
    return {
        "rounds": len(rounds),
        "ratio": ratio,
        "bar": bar,
        "noise": [low, high],
        "outside": {side: float(np.median(each[side])) for side in ("old", "new")},
        "outside_ratio": float(np.median(each["new"] / each["old"])),
        "outside_noise": np.quantile(each["again"] / each["old"], [0.25, 0.75]).tolist(),
        "holds": ratio >= min(bar, low),
    }


def table(document: Mapping[str, Any]) -> Table:
    """The figures for a terminal."""
    columns = ("cell", "rounds", "NEW/OLD", "bar", "OLD/OLD, middle half", "holds", "outside, OLD", "outside, NEW")
    shown = Table(*columns, "NEW/OLD ", "OLD/OLD ", caption="outside: microseconds per token outside of forwards")
    for cell, each in document["figures"].items():
        noise = "{:.3f} to {:.3f}".format(*each["noise"])
        outside = [f"{each['outside'][side]:.0f}" for side in ("old", "new")]
        verdict = "yes" if each["holds"] else "NO"
        if "outside_ratio" in each:  # files of earlier versions have none
            outside += [f"{each['outside_ratio']:.3f}", "{:.3f} to {:.3f}".format(*each["outside_noise"])]
        shown.add_row(cell, str(each["rounds"]), f"{each['ratio']:.3f}", f"{each['bar']:.2f}", noise, verdict, *outside)
    return shown


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*", metavar="OLD NEW")
    parser.add_argument("--pairs", type=int, default=15, help="rounds")
    parser.add_argument("--tokens", type=int, default=64, help="per row")
    parser.add_argument("--cells", nargs="+", default=[""], help="only those whose name has one of these words in it")
    parser.add_argument("--folder", type=Path, help="for work trees and caches, which stay; a temporary one by default")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--summary", type=Path, help="print the table of this file")
    asked = parser.parse_args()
    asked.cells = [cell for cell in CELLS if any(word in name(cell) for word in asked.cells)]
    if not asked.summary and not (len(asked.commits) == 2 and asked.output):
        parser.error("give two commits and --output FILE, or --summary FILE")
    if not asked.cells or asked.pairs < 1 or asked.tokens < 1:
        parser.error("there is nothing to measure: no cell has such a name, or --pairs or --tokens is below 1")
    return asked


def main() -> None:
    """Measure what is missing, print, and exit with 1 if a cell does not hold."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the process that measures, and removes work trees
    if asked.summary:
        document = json.loads(asked.summary.read_text(encoding="utf-8"))
    else:
        commits = {
            side: git("rev-parse", "--verify", f"{commit}^{{commit}}")
            for side, commit in zip(("old", "new"), asked.commits, strict=True)
        }
        with trees(asked.folder, commits) as folder:
            document = compare(asked, folder, commits)
    Console(width=None if sys.stdout.isatty() else 120).print(table(document))
    raise SystemExit(not all(each["holds"] for each in document["figures"].values()))


if __name__ == "__main__":
    main()
