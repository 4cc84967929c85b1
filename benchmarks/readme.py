"""Write README's speed table from the committed result file: `python benchmarks/readme.py [--check]`."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "by `python benchmarks/readme.py` -->\n", "<!-- end of speed table -->"


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
    commit = document["commit"][:9] + "+" * document["commit"].endswith("+")  # "+": uncommitted changes
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)
    lines.append(
        f"\n`{document['command']}`, commit {commit}, {document['time'][:10]}; {versions}; Python "
        f"{document['python']}; {document['cpu']}, {document['cores']} cores; {document['prompts']} prompts, "
        f"{document['repeats']} repeats. Result file: [benchmarks/results/zoo.json](benchmarks/results/zoo.json)."
    )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Rewrite README, or with --check say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    document = json.loads((ROOT / "benchmarks/results/zoo.json").read_text(encoding="utf-8"))
    fresh = head + BEGIN + table(document) + END + rest.split(END)[1]
    if check:
        return int(fresh != text)
    readme.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
