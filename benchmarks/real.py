"""Real models: the speed of compiled forwards over transformers' `generate`, and how far bfloat16 moves the law.

    python benchmarks/real.py FOLDER ... --output benchmarks/results/real.json
    python benchmarks/real.py FOLDER ... --law --output benchmarks/results/law.json

Each folder is a model of transformers with its tokenizer. The member runs in bfloat16 with compiled forwards, and decodes
with `standard` at temperature 1. Its rival is `generate` with the same weights, at one row in the faster of float32 and
bfloat16. Runs alternate in one process, and speeds are ratios of medians. A forward's share of the read bandwidth is the
bytes of its weights per second over those of a sum in the same run. Compiling is measured in a process of its own, with
an empty cache folder, or not measured if `--cache` names a folder that has the model already.

With `--law`: the total variation between the law at temperature 1 in float32 and in bfloat16, plain and compiled, read 1,
4 and 8 tokens at a time, at 200 positions of ordinary text.
"""

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ratios import alternate, report
from torch import Tensor

from unisono import Ensemble, SamplingParams
from unisono.members.base import Context, Work
from unisono.members.hf import artifact
from unisono.members.hf.member import HFMember
from unisono.members.hf.reference import exact_logits

TEXT = Path(__file__).parents[1] / "CONTRIBUTING.md"  # ordinary text
READ, BEHIND = 32, 100  # tokens of a prompt; tokens before a forward whose bandwidth is measured
WIDTHS = (1, 4, 8)
SHARE, MANY = ">= 0.75", ">= 1.5"
BARS = {"smollm": ">= 2.0", "qwen": ">= 1.4", "gemma": ">= 1.4"}  # by the beginning of a folder's name


class Bench:
    """A model folder with its member, and for `plain` the member without compiled forwards."""

    def __init__(self, folder: str, compile: str, tokens: int, repeats: int) -> None:
        self.name, self.tokens, self.repeats = Path(folder).name, tokens, repeats
        self.ensemble = Ensemble.load([folder], dtype="bfloat16", compile=compile, generation_config="off")
        self.member = member_of(self.ensemble)
        self.model = self.member.model
        tokenizer = self.ensemble.tokenizer
        self.params = SamplingParams(max_tokens=tokens, temperature=1, ignore_eos=True)
        self.ids = tokenizer.encode(TEXT.read_text(encoding="utf-8"), add_special_tokens=False)

    def speed(self, rows: Sequence[int]) -> dict[str, float]:
        """Ratios of tokens per second, for so many rows with prompts of equal length."""
        exact = copy.deepcopy(self.model).float()
        found = {}
        for count in rows:
            prompts = [self.ids[row * READ : (row + 1) * READ] for row in range(count)]
            runs: list[Callable[[], Any]] = [
                partial(self.ensemble.generate, prompts, self.params, schedule="standard"),
                partial(self.generate, self.model, prompts),
                partial(self.generate, exact, prompts),
            ]
            ours, half, single = alternate(runs, self.repeats)
            label = f"{self.name}, {count} rows" if count > 1 else self.name
            found[f"over generate, {label}"] = min(half, single) / ours
            found[f"tokens per second, {label}"] = count * self.tokens / ours
            found[f"generate's tokens per second in bfloat16, {label}"] = count * self.tokens / half
            found[f"generate's tokens per second in float32, {label}"] = count * self.tokens / single
        return found

    def generate(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        """What transformers writes at temperature 1, without truncation."""
        ids = torch.tensor([list(prompt) for prompt in prompts])
        options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
        length = {"max_new_tokens": self.tokens, "min_new_tokens": self.tokens, "pad_token_id": 0}
        model.generate(ids, attention_mask=torch.ones_like(ids), **options, **length)

    def forwards(self) -> dict[str, float]:
        """Milliseconds of forwards of 1, 4 and 8 tokens, compiled and plain, and the share of the read bandwidth."""
        numbers = torch.ones(64 * 2**20)
        runs: list[Callable[[], Any]] = [numbers.sum]
        for member in (self.member, self.plain):
            slot = member.open(Context(0))
            member.score([Work(slot, tokens=self.ids[:BEHIND], keep=1)])
            # The first forward reads back what the one before has driven out of the processor's caches
            runs += [partial(self.forward, member, slot, width) for width in (1, *WIDTHS)]
        read, _, *compiled = alternate(runs, 4 * self.repeats)
        plain = compiled[len(WIDTHS) + 1 :]
        found = {f"share of the read bandwidth, {self.name}": (self.bytes / compiled[0]) / (numbers.nbytes / read)}
        found[f"read bandwidth in GB/s, {self.name}"] = numbers.nbytes / read / 1e9
        for width, fast, slow in zip(WIDTHS, compiled, plain, strict=False):
            found[f"ms of a compiled forward of {width} tokens, {self.name}"] = 1e3 * fast
            found[f"ms of a plain forward of {width} tokens, {self.name}"] = 1e3 * slow
        return found

    @property
    def plain(self) -> HFMember:
        return HFMember(self.model, "plain")

    @property
    def bytes(self) -> int:
        """Of the weights that a forward reads: all but a table of embeddings that is not the output layer too."""
        table, head = self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight
        weights = sum(each.nbytes for each in self.model.parameters())
        return int(weights - (0 if table is head else table.nbytes))

    def forward(self, member: HFMember, slot: int, width: int) -> None:
        member.rewind(slot, BEHIND)
        member.score([Work(slot, tokens=self.ids[BEHIND : BEHIND + width], keep=width)])

    def law(self, positions: int) -> dict[str, float]:
        """Total variation to the law in float32: mean and 99% over the positions."""
        ids = self.ids[:positions]
        wanted = exact_logits(self.model, [ids])[0].softmax(-1)
        found = {}
        for name, member in (("plain", self.plain), ("compiled", self.member)):
            for width in WIDTHS:
                off = (self.read(member, ids, width) - wanted).abs().sum(-1) / 2
                found[f"total variation, {self.name}, {name}, {width} wide, mean"] = float(off.mean())
                found[f"total variation, {self.name}, {name}, {width} wide, 99%"] = float(off.quantile(0.99))
        return found

    @staticmethod
    def read(member: HFMember, ids: Sequence[int], width: int) -> Tensor:
        """The laws [P, V] behind each token, where so many tokens are read at a time."""
        slot = member.open(Context(0))
        parts = [ids[start : start + width] for start in range(0, len(ids), width)]
        logits = [member.score([Work(slot, tokens=part, keep=len(part))])[0].logits for part in parts]
        member.close(slot)
        return torch.cat(logits).softmax(-1)


def member_of(ensemble: Ensemble) -> HFMember:
    """The only member."""
    (member,) = ensemble.members
    assert isinstance(member, HFMember)
    return member


def compiling(folder: str) -> dict[str, float]:
    """What compiling takes, measured in a process of its own; nothing if the model is compiled already."""
    command = [sys.executable, __file__, "--child", folder]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    made: dict[str, float] = json.loads(output.splitlines()[-1])
    return {f"{name}, {Path(folder).name}": value for name, value in made.items()}


def child(folder: str) -> None:
    """Load, compile and print what it took. Memory is the highest resident size of the process and the compiler's."""
    started, files = time.perf_counter(), set(artifact.folder().glob("*.pt2"))
    member = member_of(Ensemble.load([folder], dtype="bfloat16", compile="off"))
    loaded = time.perf_counter()
    member.compile("on")
    seconds, new = time.perf_counter() - loaded, set(artifact.folder().glob("*.pt2")) - files
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    made = {
        "seconds to compile": seconds,
        "seconds to load without compiling": loaded - started,
        "GB of memory to compile": peak * 1024 / 1e9,
        "GB of the compiled file": sum(path.stat().st_size for path in new) / 1e9,
    }
    print(json.dumps(made if new else {}))


def bars(figures: Sequence[str]) -> dict[str, str]:
    """The bars of the figures that have one."""
    found = {}
    for name in figures:
        kind, _, model = name.partition(", ")
        own = next((bar for start, bar in BARS.items() if model.lower().startswith(start)), None)
        if kind == "over generate" and (model.endswith(" rows") or own):
            found[name] = MANY if model.endswith(" rows") else str(own)
        elif kind == "share of the read bandwidth":
            found[name] = SHARE
    return found


def main() -> None:
    """Measure, print, and write the result file if asked for one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", help="folders of models, as save_pretrained writes them")
    parser.add_argument("--law", action="store_true")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--cache", type=Path, help="a folder that keeps what is compiled")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child)
        return
    for folder in asked.folders:
        if not (Path(folder) / "config.json").is_file():
            parser.error(f"this is not the folder of a model, it has no config.json: {folder}")
    if not asked.folders:
        parser.error("name the folder of a model")
    figures: dict[str, float] = {}
    with ExitStack() as stack:
        os.environ["XDG_CACHE_HOME"] = str(asked.cache or stack.enter_context(TemporaryDirectory()))
        for folder in asked.folders:
            figures |= compiling(folder)
            bench = Bench(folder, "on", asked.tokens, asked.repeats)
            figures |= bench.law(200) if asked.law else bench.speed(asked.rows) | bench.forwards()
    report(figures, bars(list(figures)), asked.output, tokens=asked.tokens, repeats=asked.repeats)


if __name__ == "__main__":
    main()
