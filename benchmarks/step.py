"""What compiled forwards give: against transformers, against eager, against the memory's bandwidth, at start-up.

    python benchmarks/step.py --output benchmarks/results/step.json

Every speed is a ratio of medians of runs that alternate in one process, in bfloat16. `88M` is code-m inflated to 88M
parameters (same law); the 88M pair has code-n beside it; the zoo pair is code-m and code-n as they are. What happens at
start-up is measured in processes of their own, with a compile cache that the run before has filled.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
from ratios import alternate, report
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from unisono import Ensemble, SamplingParams, zoo
from unisono.bench.inflate import inflate
from unisono.bench.prompts import PYTHON
from unisono.members.base import Context, Work

TOKENS = 64
GREEDY = SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True)
SAMPLED = SamplingParams(max_tokens=TOKENS, temperature=1, ignore_eos=True, seed=1)
BARS = {
    "transformers generate / ours compiled, 88M": ">= 1.4",
    "transformers generate / ours compiled, code-s": ">= 1.9",
    "eager / compiled, cos:4,1, 88M pair": ">= 1.25",
    "88M forward, one row: share of the read bandwidth": ">= 0.45",
    "share of time outside forwards, compiled, cos:4,1, zoo pair": "<= 0.30",
    "resident memory with compile, in weights, 88M": "<= 2.5",
    "seconds of a warm start, zoo pair": "<= 15",
}


class Bench:
    """The members, loaded once; compiled ones are compiled before anything is timed."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.tokenizer = AutoTokenizer.from_pretrained(zoo.path("code-m"))
        self.small = {name: AutoModelForCausalLM.from_pretrained(zoo.path(name)) for name in zoo.names()}
        self.pair = [self.small[name] for name in ("code-m", "code-n")]
        self.large = [inflate(model).to(torch.bfloat16) for model in self.pair]
        self.ids = self.tokenizer.encode(PYTHON[0])

    def ensemble(self, *models: PreTrainedModel, compile: str = "on") -> Ensemble:
        ensemble = Ensemble.load(list(models), tokenizer=self.tokenizer, compile=compile)
        assert all(member.compiled == (compile == "on") for member in ensemble.members)
        return ensemble

    def against_generate(self) -> dict[str, float]:
        """One member, one row, greedy: ours compiled, ours eager, and transformers."""
        found = {}
        for name, model in (("88M", self.large[0]), ("code-s", self.small["code-s"])):
            compiled, eager = self.ensemble(model), self.ensemble(model, compile="off")
            ids = torch.tensor([self.ids])
            options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
            runs = [
                lambda each=compiled: each.generate(self.ids, GREEDY, schedule="standard"),
                lambda each=eager: each.generate(self.ids, GREEDY, schedule="standard"),
                lambda model=model, ids=ids, options=options: model.generate(ids, **options),
            ]
            fast, slow, theirs = alternate(runs, self.repeats)
            found[f"transformers generate / ours compiled, {name}"] = theirs / fast
            found[f"transformers generate / ours eager, {name}"] = theirs / slow
        return found

    def against_eager(self) -> dict[str, float]:
        """`cos:4,1` of two members at temperature 1, and what of its time is not forwards."""
        found = {}
        for name, models in (("88M pair", self.large), ("zoo pair", self.pair)):
            ensembles = [self.ensemble(*models), self.ensemble(*models, compile="off")]
            shares: list[list[float]] = [[], []]

            def run(which: int, ensembles: Any = ensembles, shares: Any = shares) -> None:
                stats = ensembles[which].generate(self.ids, SAMPLED, schedule="cos:4,1")[0].stats
                shares[which].append(1 - sum(member.seconds for member in stats.members) / stats.seconds)

            fast, slow = alternate([lambda run=run: run(0), lambda run=run: run(1)], self.repeats)
            found[f"eager / compiled, cos:4,1, {name}"] = slow / fast
            found[f"share of time outside forwards, compiled, cos:4,1, {name}"] = statistics.median(shares[0][1:])
            found[f"share of time outside forwards, eager, cos:4,1, {name}"] = statistics.median(shares[1][1:])
        return found

    def speculation(self) -> dict[str, float]:
        """What `cos:1,1` gives over `standard` when both are compiled, for one row and for eight."""
        ensemble, found = self.ensemble(*self.large), {}
        params = SamplingParams(max_tokens=TOKENS, temperature=1, ignore_eos=True)
        for rows in (1, 8):
            prompts = (PYTHON * rows)[:rows]

            def run(schedule: str, prompts: list[str] = prompts) -> None:
                ensemble.generate(prompts, params, schedule=schedule)

            slow, fast = alternate([lambda run=run: run("standard"), lambda run=run: run("cos:1,1")], self.repeats)
            found[f"cos:1,1 over standard, compiled, 88M pair, rows: {rows}"] = slow / fast
        return found

    def widths(self) -> dict[str, float]:
        """One forward of the 88M member behind 100 tokens: its share of the bandwidth, and what more tokens cost."""
        numbers = torch.ones(64 * 2**20)
        member = self.ensemble(self.large[0]).members[0]
        slot = member.open(Context(0))
        member.score([Work(slot, tokens=range(1, 101), keep=1)])

        def score(width: int, least: int = member._step.least) -> None:
            member._step.least = least
            member.rewind(slot, 100)
            member.score([Work(slot, tokens=[5] * width, keep=width)])

        # The first forward reads back what the sum has driven out of the processor's caches
        forwards = [lambda w=w: score(w) for w in (1, 1, 2, 4, 8)]
        read, _, one, *seconds, bare = alternate([numbers.sum, *forwards, lambda: score(1, least=1)], 4 * self.repeats)
        weights = sum(parameter.nbytes for parameter in self.large[0].parameters())
        return {
            "88M forward, one row: share of the read bandwidth": (weights / one) / (numbers.nbytes / read),
            **{f"88M forward of {w} tokens / of one": each / one for w, each in zip((2, 4, 8), seconds, strict=True)},
            "88M forward of one token without padding / with": bare / one,
        }

    def start(self) -> dict[str, float]:
        """Memory and time of fresh processes that find everything compiled."""
        with TemporaryDirectory() as folder:
            self.large[0].save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            in_child(folder, mode="on")  # compiles, unless an earlier run has
            memory = in_child(folder)["memory"]
        pair = [f"zoo:{name}" for name in ("code-m", "code-n")]
        in_child(*pair, mode="on")
        seconds = [in_child(*pair)["seconds"] for _ in range(3)]
        return {
            "resident memory with compile, in weights, 88M": memory,
            "seconds of a warm start, zoo pair": statistics.median(seconds),
        }


def in_child(*members: str, mode: str = "auto") -> dict[str, float]:
    """What a fresh process reports that loads the members and writes a few tokens; seconds from its start."""
    started = time.time()
    command = [sys.executable, __file__, "--child", str(started), mode, *members]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report: dict[str, float] = json.loads(output.splitlines()[-1])
    return report


def child(started: str, mode: str, *members: str) -> None:
    """Load, write 16 tokens, print what it took. Memory: growth from before loading, in units of the weights."""
    process = psutil.Process()
    before = process.memory_info().rss
    ensemble = Ensemble.load(list(members), dtype="bfloat16", compile=mode)
    ensemble.generate(PYTHON[0], SamplingParams(max_tokens=16))
    seconds, grown = time.time() - float(started), process.memory_info().rss - before
    assert all(member.compiled for member in ensemble.members)
    weights = sum(each.nbytes for member in ensemble.members for each in member.model.parameters())
    print(json.dumps({"seconds": seconds, "memory": grown / weights}))


def main() -> None:
    """Measure, print, and write the result file if asked for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    bench, figures = Bench(arguments.repeats), {}
    for part in (bench.against_generate, bench.against_eager, bench.speculation, bench.widths, bench.start):
        figures |= part()
    report(figures, BARS, arguments.output, tokens=TOKENS, repeats=arguments.repeats)


if __name__ == "__main__":
    main()
