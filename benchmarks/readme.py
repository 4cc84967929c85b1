"""Write the tables of README and docs from the committed result files: `python benchmarks/readme.py [--check]`."""

import argparse
import json
import sys
from pathlib import Path

from unisono.bench.report import markdown, origin

ROOT = Path(__file__).parents[1]
BEGIN, END = "by `python benchmarks/readme.py` -->\n", "<!-- end of speed table -->"
PICTURES = {
    "paper.json": ("speedups.svg", "timeline.svg"),
    "sweeps.json": ("draft-length.svg", "weight.svg", "mu.svg", "dial.svg"),
}
PAGES = {  # the part of a page that is a result file's figures
    "figures": ("docs/batching.md", "batching.json"),
    "profile": ("docs/batching.md", "batching-profile.json"),
    "step": ("docs/performance.md", "step.json"),
    "real": ("docs/performance.md", "real.json"),
    "law": ("docs/performance.md", "law.json"),
    "operations": ("docs/performance.md", "operations.json"),
    "operations-amx": ("docs/performance.md", "operations-amx.json"),
}


def speed() -> str:
    """The table of the paper's preset; of the zoo members as long as there is none."""
    if not (ROOT / "benchmarks/results/paper.json").exists():
        return table(result("zoo.json"))
    document = result("paper.json")
    lines = [
        "| collaboration | schedule | speed-up | at least | best fixed choice | replayed | acceptance |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, case in document["cases"].items():
        cells = {c["schedule"]: c for c in document["cells"] if (c["case"], c["stage"]) == (name, "compare")}
        picked = cells.get(case.get("picked", ""))
        best = f"`{picked['schedule']}` {picked['speedup']:.2f}" if picked else "-"
        for label in dict.fromkeys(["auto", *case["bars"], *case["peers"]]):
            if label in cells:
                values = [cells[label][key] for key in ("speedup", "low", "replayed", "acceptance")]
                gain, low, *rest = ("-" if value is None else f"{value:.2f}" for value in values)
                lines.append(f"| {name} | `{label}` | {gain} | {low} | {best} | {' | '.join(rest)} |")
    lines.append(
        "\n*At least* is the lower 95% bound; *replayed* is what `unisono bench predict` promises ([docs/benchmarks.md]"
        "(docs/benchmarks.md)). `90M` is a bundled model enlarged without changing its law.\n\n"
        f"{origin(document)}. Result file: [benchmarks/results/paper.json](benchmarks/results/paper.json)."
    )
    return "\n".join(lines) + "\n"


def report(name: str) -> str:
    """All tables of a preset's result, and its pictures; a sentence as long as it was not run."""
    if not (ROOT / "benchmarks/results" / name).exists():
        return "Not measured yet.\n"
    document = result(name)
    pictures = [path for path in PICTURES[name] if (ROOT / "docs/figures" / path).exists()]
    shown = "".join(f"\n![{path.removesuffix('.svg')}](figures/{path})\n" for path in pictures)
    return markdown(document) + f"\nResult file: [{name}](../benchmarks/results/{name}).\n" + shown


def table(document: dict) -> str:
    """The result file as a Markdown table with its provenance."""
    lines = [
        "| members | combination | T | schedule | speed-up | predicted | acceptance | cost ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in document["cells"]:
        if cell["schedule"] == "standard":
            continue
        members = " + ".join(name.removeprefix("zoo:") for name in cell["members"])
        values = [cell[key] for key in ("speedup", "predicted", "acceptance", "cost")]
        numbers = " | ".join("-" if value is None else f"{value:.2f}" for value in values)
        lines.append(
            f"| {members} | `{cell['combine']}` | {cell['temperature']:g} | `{cell['schedule']}` | {numbers} |"
        )
    lines.append(
        f"\n{origin(document)}; {document['prompts']} prompts, "
        f"{document['repeats']} repeats. Result file: [benchmarks/results/zoo.json](benchmarks/results/zoo.json)."
    )
    return "\n".join(lines) + "\n"


def figures(document: dict, name: str) -> str:
    """The figures of a result file beside their bars."""
    bars = document.get("bars", {})
    lines = ["| figure | measured | bar |", "|---|---|---|"] if bars else ["| figure | measured |", "|---|---|"]
    for figure, value in document["figures"].items():
        lines.append(f"| {figure} | {value:.3f} |" + (f" {bars.get(figure, '-')} |" if bars else ""))
    lines.append(
        f"\n{origin(document)}; {document['repeats']} repeats. Result file: [{name}](../benchmarks/results/{name})."
    )
    return "\n".join(lines) + "\n"


def result(name: str) -> dict:
    """A committed result file."""
    document: dict = json.loads((ROOT / "benchmarks/results" / name).read_text(encoding="utf-8"))
    return document


def between(text: str, begin: str, end: str, content: str) -> str:
    """The text with other content between two marks."""
    head, rest = text.split(begin)
    return head + begin + content + end + rest.split(end)[1]


def main() -> int:
    """Rewrite the pages, or with --check say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    written = [("README.md", BEGIN, END, speed())]
    for name in PICTURES:
        marks = f"<!-- {name}, written by `python benchmarks/readme.py` -->\n", f"<!-- end of {name} -->"
        written.append(("docs/benchmarks.md", *marks, report(name)))
    for part, (page, name) in PAGES.items():
        marks = f"<!-- {part}, written by `python benchmarks/readme.py` -->\n", f"<!-- end of {part} -->"
        measured = (ROOT / "benchmarks/results" / name).exists()
        written.append((page, *marks, figures(result(name), name) if measured else "Not measured yet.\n"))
    stale = False
    for page, *parts in written:
        text = (ROOT / page).read_text(encoding="utf-8")
        fresh = between(text, *parts)
        stale |= fresh != text
        if not check:
            (ROOT / page).write_text(fresh, encoding="utf-8")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
