"""Write the cards of the code models: the `README.md` and the loss curve of each, and the tables of `docs/zoo.md`.

This script draws samples and measures nothing else. All other numbers come from `corpus.json`, `measured.json` and the
`curve.json` of a run. Run `python -m zoo.card` after `python -m zoo.measure`.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from transformers import AutoTokenizer, LlamaForCausalLM

from zoo.corpus import SUMMARY
from zoo.measure import MEASURED, NAMES
from zoo.models import SHAPES, WEIGHTS
from zoo.sources import HELD_OUT_PACKAGE, MISSING
from zoo.tokens import LONGEST
from zoo.train import RUNS, WARMUP_STEPS

GUIDE = Path(__file__).parent.parent / "docs" / "zoo.md"
MARKERS = ("<!-- tables: written by zoo/card.py -->", "<!-- end of tables -->")
SAMPLE_TOKENS = 96
PROMPTS = (
    "def read_lines(path):",
    "import os\nimport sys\n",
    "class Stack:\n    ",
    '"""',
    "def fibonacci(n):\n",
    "    def __init__(self, name, value=None):\n",
    "for index, item in enumerate(",
    "try:\n    import numpy as np\n",
    "# Sort the words by length\n",
    "def test_",
)


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bits_table(sets: dict[str, Any]) -> str:
    """Return a table of the bits per byte of `xz` and of every model and mixture, for every held-out set."""
    columns = list(next(iter(sets.values()))["bits_per_byte"])
    rows = [
        [title, f"{measured['files']}", f"{measured['bytes']:,}"]
        + [f"{measured['bits_per_byte'][column]:.3f}" for column in columns]
        + [f"{measured['xz_bits_per_byte']:.3f}"]
        for title, measured in sets.items()
    ]
    return table(["text", "files", "bytes", *columns, "xz -9"], rows)


def variation_table(sets: dict[str, Any], only: str = "") -> str:
    """Return a table of total variations and acceptance rates, for the pairs with the model `only` or for all pairs."""
    chosen = ["held-out files", "held-out package"]
    pairs = [pair for pair in sets[chosen[0]]["total_variation"] if only in pair]
    rows = []
    for pair in pairs:
        values = [sets[title]["total_variation"][pair] for title in chosen]
        cells = [f"{value:.3f} ({1 - value:.3f})" for value in values]
        rows.append([pair.replace("|", "and"), *cells])
    return table(["laws", *chosen], rows)


def corpus_table(packages: dict[str, Any]) -> str:
    """Return a table of the packages of the corpus. The digest covers the sorted SHA-256 digests of a package's files."""
    keys = ["version", "licence", "quarter", "files", "bytes", "held_out_files", "sha256"]
    rows = [
        [name, *(f"{row[key]:,}" if key == "bytes" else f"{row[key]}" for key in keys)]
        for name, row in packages.items()
    ]
    return table(["package", *(key.replace("_", " ") for key in keys)], rows)


def samples(name: str) -> str:
    """Return one text for each of the fixed prompts: the first that is sampled, at temperature 1 without truncation."""
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / name)
    model = LlamaForCausalLM.from_pretrained(WEIGHTS / name, dtype=torch.float32)
    parts = []
    for seed, prompt in enumerate(PROMPTS):
        torch.manual_seed(seed)
        inputs = tokenizer(prompt, return_tensors="pt")
        ids = model.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=SAMPLE_TOKENS)
        parts.append(f"Prompt `{json.dumps(prompt)}`, seed {seed}:\n\n````python\n{tokenizer.decode(ids[0])}\n````")
    return "\n\n".join(parts)


def draw_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Draw training and held-out loss over tokens. The file has no date, so equal runs give equal files."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for key, name in (("train", "training"), ("held_out", "held-out sample")):
        axes.plot([point["tokens"] / 1e6 for point in curve], [point[key] for point in curve], label=name)
    axes.set(xlabel="million tokens", ylabel="nats per token", ylim=(None, min(6.0, curve[0]["train"])))
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def training_section(name: str, run: dict[str, Any]) -> str:
    """Return the part of a card about data, commands, tokens and time."""
    corpus = json.loads(SUMMARY.read_text())["training"][name]
    tokens = run["step"] * run["rows"] * LONGEST
    missing = " and ".join(MISSING[name]) or "none"
    return f"""\
- Training files: {corpus["files"]:,} with {corpus["bytes"]:,} bytes. Quarters never seen: {missing}.
- Commands: `python -m zoo.corpus`, `python -m zoo.tokens`, then
{commands(run)}
- Tokens: {tokens:,}, less than one pass over the files. Time: {run["seconds"] / 60:.0f} minutes of wall clock, one thread
  unless a command says otherwise, on a machine that was busy with other work for most of them.
- Optimiser: Muon for the matrices of the layers, AdamW for the rest; peak rate {run["rate"]}, {WARMUP_STEPS} steps
  of warmup, linear decay to 0 over the second half. Sequences of {LONGEST // 2} tokens, in the last fifth of {LONGEST}.
  bf16 autocast, weights saved as bf16. The budget was changed on the way (by
  the file `tokens` or by another command), so the rate fell and rose again: a run in one go gives other weights.
- The curve's held-out sample is 16 rows of 1024 tokens before the first resumption and 8 of them after it."""


def header(name: str, tags: str) -> str:
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [{tags}]
---

# {name}
"""


def commands(run: dict[str, Any]) -> str:
    """Return a list of the commands of a training run, each with the number of tokens seen before it."""
    entries = [entry.partition(": ") for entry in run["commands"]]
    return "\n".join(f"  - from token {int(start):,} on: `{command}`" for start, _, command in entries)


def stamp(report: dict[str, Any]) -> str:
    """Return the line that says how the numbers of a report were measured."""
    facts = ", ".join(f"{key} {value}" for key, value in report["provenance"].items())
    return f"Command: `{report['command']}`. {facts}."


def card(name: str, report: dict[str, Any], run: dict[str, Any], parameters: int) -> str:
    shape, sets = SHAPES[name], report["sets"]
    packages = json.loads(SUMMARY.read_text())["packages"]
    return f"""\
{header(name, "code, python, llama, speculative-decoding")}
A Llama model of Python source with {parameters:,} parameters: {shape.layers} layers, hidden size {shape.hidden},
4096 tokens of byte-level BPE, 1024 positions, bf16. It exists so that several models can be decoded together offline,
in examples and tests. It is **not** a useful programming assistant: it knows the look of Python, not its meaning.

## Training
{training_section(name, run)}

![loss](curve.svg)

## Measured
Bits per byte, smaller is better. `a + b` is the mixture with equal weights per token. Windows of 1024 tokens, of which
the last 512 count; bf16 matrix products, laws in float32. Files are held out by the hash of their bytes (2%);
the package `{HELD_OUT_PACKAGE}` is held out as a whole.

{bits_table(sets)}

Total variation between two laws, averaged over positions, and in brackets 1 minus it: how often a proposal from one is
accepted for the other.

{variation_table(sets, name)}

{stamp(report)}

## Data
Source files of the standard library and of packages that this project's environment contains, all under permissive
licences; without tests, tables, generated and vendored files, near-duplicates and licence headers.

{corpus_table(packages)}

## Samples
The first draw for ten fixed prompts: temperature 1, no truncation, {SAMPLE_TOKENS} tokens, not selected.

{samples(name)}
"""


def write_guide(markers: tuple[str, str], report: dict[str, Any], tables: str) -> None:
    """Replace the text between two markers of `docs/zoo.md` by tables and the line about their origin."""
    before, _, rest = GUIDE.read_text().partition(markers[0])
    after = rest.partition(markers[1])[2]
    GUIDE.write_text(f"{before}{markers[0]}\n{tables}\n\n{stamp(report)}\n{markers[1]}{after}")


def write_cards(names: Sequence[str], card_of: Callable[[str, dict[str, Any], int], str]) -> None:
    """Write `README.md`, `training.json` and `curve.svg` of each model.

    Args:
        card_of: a function (name, run, number of parameters) that returns the card.
    """
    for name in names:
        source, folder = RUNS / name / "curve.json", WEIGHTS / name
        run = json.loads(source.read_text())
        shutil.copy(source, folder / "training.json")
        draw_curve(run["curve"], folder / "curve.svg")
        parameters = LlamaForCausalLM.from_pretrained(folder).num_parameters()
        (folder / "README.md").write_text(card_of(name, run, parameters))


def main() -> None:
    """Write all cards and the tables of the guide. The folder of each run must have `curve.json`."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    report = json.loads(MEASURED.read_text())
    write_cards(NAMES, lambda name, run, parameters: card(name, report, run, parameters))
    write_guide(MARKERS, report, f"{bits_table(report['sets'])}\n\n{variation_table(report['sets'])}")


if __name__ == "__main__":
    main()
