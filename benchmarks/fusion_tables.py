"""Write the tables of docs/evaluation.md from the committed result file: `python benchmarks/fusion_tables.py [--check]`."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE, RESULTS = ROOT / "docs/evaluation.md", ROOT / "benchmarks/results/fusion.json"
BEGIN, END = "<!-- {}: written by benchmarks/fusion_tables.py -->\n", "<!-- end of {} -->"


def percent(found: dict[str, float] | None, digits: int = 1) -> str:
    """A share with its interval, in percent."""
    if found is None:
        return "-"
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*(100 * found[key] for key in ("value", "low", "high")), d=digits)


def plain(found: dict[str, float] | None) -> str:
    """A value with its interval."""
    return "-" if found is None else f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"


def quality(report: dict[str, Any]) -> Iterator[str]:
    yield "| method | all, % | over the best member, points | single skills, % | two skills, % | forwards per token |"
    yield "|---|---|---|---|---|---|"
    groups = report["by_skill"]
    singles = [group for group in groups if group != "two skills"]
    for name, row in {row["name"]: row for row in report["rows"]}.items():  # a tuned method may be one of the others
        forwards = " + ".join(f"{each:.2f}" for each in row["forwards_per_token"]) or "-"
        single = sum(groups[group][name]["value"] for group in singles) / len(singles)
        cells = [percent(row["score"]), percent(row["gain_over_best_member"]), f"{100 * single:.1f}"]
        yield f"| {name} | {' | '.join(cells)} | {100 * groups['two skills'][name]['value']:.1f} | {forwards} |"
    routers = report["best_over_routers"]
    gains = ", ".join(f"{name} by {percent(gain)} points" for name, gain in routers["gain_over"].items())
    yield f"\nThe best method of two members, {routers['best']}, is above {gains}."
    yield "\n| draft, assistant | positions, assistant right | the tree looks at | `cosd`, % | `cosd_tree`, % | points above |"
    yield "|---|---|---|---|---|---|"
    rows = {row["name"]: row["score"] for row in report["rows"]}
    names = {"cosd": "cosd:alpha=0.5,beta=0.5", "cosd_tree": "cosd_tree:benchmarks/results/cosd_tree.json"}
    first = report["tree"] | {"members": report["members"]} | {key: rows[name] for key, name in names.items()}
    for tree in [first, *report["generalist"]]:
        scores = " | ".join(percent(tree[key]) for key in (*names, "minus_cosd"))
        start = f"| {', '.join(tree['members'])} | {tree['positions']}, {tree['assistant_right']} "
        yield f"{start}| {' and '.join(tree['features'])} | {scores} |"
    yield f"\nEach tree was fitted on the same {first['texts']} texts of the development split."


def speed(report: dict[str, Any]) -> Iterator[str]:
    yield "| combination | dtype | schedule | speed-up over `standard` | same text | acceptance | forwards per token |"
    yield "|---|---|---|---|---|---|---|"
    for dtype in ("float32", "bfloat16"):
        for case in report.get(dtype, ()):
            for cell in case["schedules"][1:]:
                forwards = " + ".join(f"{each:.2f}" for each in cell["forwards"])
                accepted = "-" if cell["acceptance"] is None else f"{cell['acceptance']:.2f}"
                asked = cell["asked"] if cell["asked"] == cell["schedule"] else f"{cell['asked']} = {cell['schedule']}"
                same = "yes" if cell["same_text"] else "no"
                name = f"{case['combination'].rpartition('/')[2]} {case.get('note', '')}".strip()
                start = f"| {name} | {dtype} | {asked} | {cell['speedup']:.2f} "
                yield f"{start}| {same} | {accepted} | {forwards} |"


def bits(report: dict[str, Any]) -> Iterator[str]:
    yield "| method | bits per byte | below the best member |"
    yield "|---|---|---|"
    for row in report["rows"]:
        yield f"| {row['name']} | {plain(row['score'])} | {plain(row['gain_over_best_member'])} |"
    best = min(row["score"]["value"] for row in report["rows"] if row["kind"] == "member")
    tuned = next(row for row in report["rows"] if row["name"] == report["tuned"])
    share = 100 * (1 - tuned["score"]["value"] / best)
    counts = report["documents"]
    yield (
        f"\nTuned on {counts['development']} documents, tested on {counts['test']} others: {report['tuned']} is {share:.1f}% "
        "below the best member."
    )


def harness(report: dict[str, Any]) -> Iterator[str]:
    yield "| task and metric | our class | `hf` class |"
    yield "|---|---|---|"
    for name, pair in report["metrics"].items():
        yield f"| {name} | {pair['ours']:.6f} | {pair['hf']:.6f} |"


TABLES = {"quality": quality, "speed": speed, "bits": bits, "harness": harness}


def origin(found: dict[str, Any]) -> str:
    """Where the numbers come from."""
    commit = (found["commit"] or "unknown")[:9] + "+" * str(found["commit"]).endswith("+")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    command = found["command"].replace("python -m fusion.py", "python benchmarks/fusion.py")
    return f"\n`{command}`, commit {commit}, {found['time'][:10]}; {versions}; {found['cpu']}, {found['cores']} cores."


def written(text: str, results: dict[str, Any]) -> str:
    """The page with fresh tables."""
    for part, table in TABLES.items():
        if part not in results:
            continue
        head, _, rest = text.partition(BEGIN.format(part))
        _, _, tail = rest.partition(END.format(part))
        lines = [*table(results[part]), origin(results[part]["provenance"])]
        text = head + BEGIN.format(part) + "\n".join(lines) + "\n" + END.format(part) + tail
    return text


def main() -> int:
    """Rewrite the page, or with --check say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    fresh = written(text, json.loads(RESULTS.read_text(encoding="utf-8")))
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    return int(check and fresh != text)


if __name__ == "__main__":
    sys.exit(main())
