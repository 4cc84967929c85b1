"""On a GPU: equal to the CPU, near the memory's bandwidth, and faster by speculation at 1, 8 and 32 rows.

    python benchmarks/gpu.py --output benchmarks/results/gpu.json

Members are code-m and code-n inflated to Llama shapes of 1B and 8B parameters: their law, hence their acceptance, is the
small models', their cost the large ones'. `--device cpu --shapes tiny --compile off` tries the script where there is no GPU.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from unisono import Ensemble, SamplingParams, zoo
from unisono.bench.inflate import inflate
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance
from unisono.members.base import Context, Work

# hidden size, layers, size of the MLP: of the zoo's heads and vocabulary, with about as many weights as the name says
SHAPES = {"tiny": (256, 5, 704), "1B": (2048, 20, 6144), "8B": (4096, 36, 14336)}
SCHEDULES = ("standard", "speculative:4", "cos:1,1", "cos:4,1")
ROWS = (1, 8, 32)
COPIED = 2**28  # numbers in the copy that bandwidth is measured with
BAR = 0.6  # of the copy's bandwidth, for a forward of one token at 8B


class Bench:
    """Everything measured on one device."""

    def __init__(self, device: str, compile: str, tokens: int, repeats: int, copied: int = COPIED) -> None:
        self.device, self.compile = torch.device(device), compile
        self.tokens, self.repeats, self.copied = tokens, repeats, copied
        self.tokenizer = AutoTokenizer.from_pretrained(zoo.path("code-m"))
        self.small = [AutoModelForCausalLM.from_pretrained(zoo.path(name)).float() for name in ("code-m", "code-n")]

    def models(self, shape: str) -> list[PreTrainedModel]:
        hidden, layers, intermediate = SHAPES[shape]
        with self.device:  # eight billion random numbers take a CPU minutes
            return [inflate(model, hidden, layers, intermediate).to(torch.bfloat16) for model in self.small]

    def ensemble(self, models: Sequence[PreTrainedModel], compile: str | None = None) -> Ensemble:
        return Ensemble.load(list(models), tokenizer=self.tokenizer, compile=compile or self.compile)

    def equality(self) -> dict[str, float]:
        """Largest difference of log-probabilities of the small models in float32, this device against the CPU."""
        text = PYTHON[0]
        here = self.ensemble([model.to(self.device) for model in self.small]).logprobs(text, PYTHON[1])
        there = self.ensemble([model.to("cpu") for model in self.small], "off").logprobs(text, PYTHON[1])
        pairs = zip(here.logprobs, there.logprobs, strict=True)
        return {"largest difference to the CPU, float32 log-probability": max(abs(a - b) for a, b in pairs)}

    def forwards(self, shape: str, model: PreTrainedModel) -> dict[str, float]:
        """Forwards behind 100 tokens: share of a measured copy's bandwidth, and what more tokens cost."""
        member = self.ensemble([model]).members[0]
        slot = member.open(Context(0))
        member.score([Work(slot, tokens=range(1, 101), keep=1)])

        def score(width: int) -> None:
            member.rewind(slot, 100)
            member.score([Work(slot, tokens=[5] * width, keep=width)])

        source = torch.ones(self.copied, dtype=torch.bfloat16, device=self.device)
        target = torch.empty_like(source)
        runs: list[Callable[[], Any]] = [lambda: target.copy_(source), *(lambda w=w: score(w) for w in (1, 4, 8))]
        copy, *seconds = self.alternate(runs, 4 * self.repeats)
        member.close(slot)
        weights = sum(parameter.nbytes for parameter in model.parameters())
        share = (weights / seconds[0]) / (2 * source.nbytes / copy)
        found = {f"{shape} forward, one row: share of the copy's bandwidth": share}
        ratios = {
            f"{shape} forward of {w} tokens / of one": s / seconds[0] for w, s in zip((4, 8), seconds[1:], strict=True)
        }
        return found | ratios

    def schedules(self, shape: str, models: Sequence[PreTrainedModel]) -> dict[str, float]:
        """Speed-ups over `standard` of two equal members at temperature 1."""
        ensemble, found = self.ensemble(models), {}
        for rows in ROWS:
            prompts = [PYTHON[index % len(PYTHON)] for index in range(rows)]
            params = [
                SamplingParams(max_tokens=self.tokens, temperature=1, ignore_eos=True, seed=row) for row in range(rows)
            ]
            runs = [lambda s=s, p=prompts, q=params: ensemble.generate(p, q, schedule=s) for s in SCHEDULES]
            standard, *others = self.alternate(runs, self.repeats)
            found[f"{shape} pair, standard, {rows} rows: tokens/s"] = rows * self.tokens / standard
            for schedule, seconds in zip(SCHEDULES[1:], others, strict=True):
                found[f"{shape} pair, {schedule} / standard, {rows} rows"] = standard / seconds
        return found

    def alternate(self, runs: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
        """Median seconds of each, in turns after a warm-up round; the device is waited for."""
        seconds: list[list[float]] = [[] for _ in runs]
        for repeat in range(repeats + 1):
            for run, times in zip(runs, seconds, strict=True):
                self.wait()
                started = time.perf_counter()
                run()
                self.wait()
                if repeat:
                    times.append(time.perf_counter() - started)
        return [statistics.median(times) for times in seconds]

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def run(self, shapes: Sequence[str]) -> dict[str, float]:
        found = self.equality()
        for shape in shapes:
            models = self.models(shape)
            found |= self.forwards(shape, models[0]) | self.schedules(shape, models)
            del models
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return found


def main() -> None:
    """Measure, print, and write the result file if asked for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["1B", "8B"])
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    if torch.device(asked.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(f"device {asked.device} is not available here; --device cpu --shapes tiny tries the script")
    copied = COPIED if torch.device(asked.device).type == "cuda" else 2**22
    figures = Bench(asked.device, asked.compile, asked.tokens, asked.repeats, copied).run(asked.shapes)
    table = Table("figure", "measured")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}" + (f" (bar: >= {BAR})" if name.startswith("8B forward, one row") else ""))
    Console().print(table)
    if asked.output:
        document = {**provenance(), "tokens": asked.tokens, "repeats": asked.repeats, "figures": figures}
        asked.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
