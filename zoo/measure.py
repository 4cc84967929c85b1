"""Measure bits per byte on held-out text and the total variation between the models' laws, for the cards.

All models read the same windows. So one pass measures every model, every mixture and every distance at the same
positions. The models are the exported ones; matrix products are in bf16, laws in float32.
Run `python -m zoo.measure`; it writes `zoo/measured.json`.
"""

import argparse
import json
import lzma
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from transformers import LlamaForCausalLM

from zoo.corpus import File, read_snapshot
from zoo.models import WEIGHTS
from zoo.provenance import provenance
from zoo.sources import HELD_OUT_PACKAGE, MISSING
from zoo.tokens import LONGEST, encode_texts, load_tokenizer

MEASURED = Path(__file__).parent / "measured.json"
STRIDE = LONGEST // 2
NAMES = sorted(MISSING)  # the models of code
MIXTURES = [group for size in (2, 3) for group in combinations(NAMES, size)]
Sums = dict[str, float]
Report = dict[str, Any]


def label(group: tuple[str, ...]) -> str:
    return " + ".join(group)


def windows(stream: np.ndarray) -> Iterator[tuple[Tensor, int]]:
    """Yield rows of at most LONGEST + 1 tokens, each with the number of new targets at its end.

    Consecutive rows overlap by half. So all targets but the first ones have at least LONGEST / 2 tokens in front of them.
    """
    seen = 1
    while seen < len(stream):
        end = min(len(stream), max(seen + STRIDE, LONGEST + 1))
        yield torch.from_numpy(stream[max(0, end - LONGEST - 1) : end]).long(), end - seen
        seen = end


@torch.inference_mode()
def laws(models: dict[str, LlamaForCausalLM], row: Tensor, new: int) -> dict[str, Tensor]:
    """Return the laws of every model and of every mixture with equal weights at the new positions of a row: [new, V]."""
    found = {}
    for name, model in models.items():
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(row[None, :-1], use_cache=False).last_hidden_state[0, -new:]
            logits = model.lm_head(hidden)
        found[name] = logits.float().softmax(-1)
    for group in MIXTURES:
        found[label(group)] = sum(found[name] for name in group) / len(group)
    return found


def variations(found: dict[str, Tensor]) -> Sums:
    """Return the total variation, summed over positions, of each two models and of each model and each mixture."""
    pairs = [*combinations(NAMES, 2), *((name, label(group)) for group in MIXTURES for name in NAMES)]
    return {f"{a} | {b}": (found[a] - found[b]).abs_().sum().item() / 2 for a, b in pairs}


@dataclass
class Tally:
    """Sums over the positions of some text."""

    text: bytes = b""
    files: int = 0
    tokens: int = 0
    nats: Counter[str] = field(default_factory=Counter)
    apart: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Tally") -> "Tally":
        # Counters are updated, because `+` drops zeros
        nats, apart = Counter(self.nats), Counter(self.apart)
        nats.update(other.nats)
        apart.update(other.apart)
        return Tally(self.text + other.text, self.files + other.files, self.tokens + other.tokens, nats, apart)

    def report(self) -> Report:
        """Return the means, and the bits per byte of `xz -9` for the same text."""
        size = len(self.text)
        return {
            "files": self.files,
            "bytes": size,
            "tokens": self.tokens,
            "bits_per_byte": {name: value / math.log(2) / size for name, value in self.nats.items()},
            "xz_bits_per_byte": 8 * len(lzma.compress(self.text, preset=9)) / size,
            "total_variation": {pair: value / self.tokens for pair, value in self.apart.items()},
        }


def measure(models: dict[str, LlamaForCausalLM], file: File, stream: np.ndarray) -> Tally:
    """Return the sums over one file. The models read the file from its beginning."""
    tally = Tally(file.text.encode(), 1, len(stream) - 1)
    for row, new in windows(stream):
        found = laws(models, row, new)
        tally.nats.update({name: -law.gather(1, row[-new:, None]).log().sum().item() for name, law in found.items()})
        tally.apart.update(variations(found))
    return tally


def report_of(tallies: dict[File, Tally]) -> dict[str, Report]:
    """Return one report each for all held-out files, the held-out package, and the held-out files of each quarter."""
    groups: dict[str, list[Tally]] = {"held-out files": [], "held-out package": []}
    for file, tally in sorted(tallies.items(), key=lambda item: (item[0].quarter, item[0].path)):
        groups["held-out files" if file.held_out else "held-out package"].append(tally)
        if file.held_out:
            groups.setdefault(f"held-out files of {file.quarter}", []).append(tally)
    return {title: sum(group, Tally()).report() for title, group in groups.items()}


def main() -> None:
    """Measure every set of files and write the numbers with their provenance."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(2)
    models = {name: LlamaForCausalLM.from_pretrained(WEIGHTS / name, dtype=torch.float32) for name in NAMES}
    files = [file for file in read_snapshot() if file.held_out or file.package == HELD_OUT_PACKAGE]
    streams = encode_texts(load_tokenizer(), [file.text for file in files])
    pairs = track(list(zip(files, streams, strict=True)), "files")
    tallies = {file: measure(models, file, stream) for file, stream in pairs}
    report = {"command": "python -m zoo.measure", "provenance": provenance(), "sets": report_of(tallies)}
    MEASURED.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
