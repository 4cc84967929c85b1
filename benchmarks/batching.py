"""Speed of the engine: against its members, against transformers, many rows against one.

    python benchmarks/batching.py --output benchmarks/results/batching.json

Every figure is a ratio of medians of runs that alternate in one process. `pair` is code-m and code-n inflated to 88M
parameters (same law, so real acceptance); `zoo` the bundled models as they are; all in bfloat16, eager unless said.
"""

import argparse
import gc
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from ratios import alternate, report
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from unisono import Ensemble, SamplingParams, combine, zoo
from unisono.bench.inflate import inflate
from unisono.bench.prompts import PYTHON
from unisono.members.base import Context, Work

TOKENS = 64
FORWARDS = {"off": "eager", "on": "compiled"}
BARS = {
    "two-member standard / sum of its members alone": "<= 1.05",
    "transformers generate / ours, greedy, 88M": ">= 1.0",
    "transformers generate / ours, greedy, code-s": ">= 1.0",
    "share of time outside forwards, cos:4,1, 88M pair": "<= 0.03",
    "share of time outside forwards, cos:4,1, zoo pair": "<= 0.25",
    "growth of resident memory over 2000 requests": "< 0.05",
}
for how in FORWARDS.values():
    BARS |= {
        f"assisted generation / ours, 5 drafts, greedy, {how}": ">= 1.2",
        f"tokens/s, 8 rows / 1 row, 88M, standard, {how}": ">= 5",
        f"cos:1,1 / standard, 1 row, 88M pair, T=1, {how}": ">= 1.6",
        f"cos:1,1 / standard, 8 rows, 88M pair, T=1, {how}": ">= 1.4",
    }
GREEDY = SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True)
SAMPLED = SamplingParams(max_tokens=TOKENS, temperature=1, ignore_eos=True, seed=1)


def forward(member: Any, rows: int, tokens: int) -> Callable[[], Any]:
    """Scores so many new tokens in each of so many slots that hold a hundred."""
    slots = [member.open(Context(0)) for _ in range(rows)]
    member.score([Work(slot, tokens=[5] * 100, keep=1) for slot in slots])

    def run() -> None:
        member.score([Work(slot, tokens=[5] * tokens, keep=tokens) for slot in slots])
        for slot in slots:
            member.rewind(slot, 100)

    return run


class Bench:
    """The members, loaded once."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.tokenizer = AutoTokenizer.from_pretrained(zoo.path("code-m"))
        self.zoo = {name: AutoModelForCausalLM.from_pretrained(zoo.path(name)) for name in zoo.names()}
        self.pair = [self.zoo[name] for name in ("code-m", "code-n")]
        self.large = [inflate(model).to(torch.bfloat16) for model in self.pair]
        self.ids = self.tokenizer.encode(PYTHON[0])

    def ensemble(self, *models: PreTrainedModel, compile: str = "off", **options: Any) -> Ensemble:
        return Ensemble.load(list(models), tokenizer=self.tokenizer, compile=compile, **options)

    def decode(self, ensemble: Ensemble, params: SamplingParams = GREEDY, **options: Any) -> Callable[[], Any]:
        return lambda: ensemble.generate(self.ids, params, **options)

    def two_members(self) -> dict[str, float]:
        """`standard` of two against the sum of each alone."""
        m, n = self.large
        both, one, other = self.ensemble(m, n), self.ensemble(m), self.ensemble(n)
        runs = [self.decode(each, schedule="standard") for each in (both, one, other)]
        together, *alone = alternate(runs, self.repeats)
        return {"two-member standard / sum of its members alone": together / sum(alone)}

    def against_generate(self) -> dict[str, float]:
        found = {}
        for name, model in (("88M", self.large[0]), ("code-s", self.zoo["code-s"])):
            ids = torch.tensor([self.ids])
            options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
            theirs = lambda model=model, ids=ids, options=options: model.generate(ids, **options)  # noqa: E731
            ours = self.decode(self.ensemble(model), schedule="standard")
            mine, reference = alternate([ours, theirs], self.repeats)
            found[f"transformers generate / ours, greedy, {name}"] = reference / mine
        return found

    def against_assisted(self, compile: str = "off") -> dict[str, float]:
        """Plain speculative decoding with five drafts, greedy, the same pair and length."""
        target, draft = self.large[0], self.zoo["code-s"]
        draft.generation_config.num_assistant_tokens = 5
        draft.generation_config.num_assistant_tokens_schedule = "constant"
        draft.generation_config.assistant_confidence_threshold = 0.0
        ids = torch.tensor([self.ids])
        options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
        ensemble = self.ensemble(target, draft, combine=combine.only(0), compile=compile)
        ours = self.decode(ensemble, schedule="speculative:5")
        mine, theirs = alternate([ours, lambda: target.generate(ids, assistant_model=draft, **options)], self.repeats)
        return {f"assisted generation / ours, 5 drafts, greedy, {FORWARDS[compile]}": theirs / mine}

    def overhead(self) -> dict[str, float]:
        """Share of the wall time outside the members' forwards, `cos:4,1`."""
        found = {}
        for name, models in (("88M pair", self.large), ("zoo pair", self.pair)):
            ensemble = self.ensemble(*models)
            shares = []
            for repeat in range(self.repeats + 1):
                stats = ensemble.generate(self.ids, SAMPLED, schedule="cos:4,1")[0].stats
                if repeat:
                    shares.append(stats.outside / stats.seconds)
            found[f"share of time outside forwards, cos:4,1, {name}"] = statistics.median(shares)
        return found

    def rows(self, compile: str = "off") -> dict[str, float]:
        """Tokens per second of 8 rows over 1; `cos:1,1` over `standard` at both.

        24 requests share the 8 rows, so that the batch stays full while some end before others.
        """
        one, pair = (self.ensemble(*models, rows=8, compile=compile) for models in (self.large[:1], self.large))
        prompts = [self.tokenizer.encode(text) for text in PYTHON[:8] * 3]
        params = [replace(SAMPLED, seed=seed) for seed in range(len(prompts))]
        batch = lambda each, schedule: lambda: each.generate(prompts, params, schedule=schedule)  # noqa: E731
        single = lambda each, schedule: lambda: each.generate(prompts[0], SAMPLED, schedule=schedule)  # noqa: E731
        runs = [single(one, "standard"), batch(one, "standard")]
        runs += [single(pair, "standard"), single(pair, "cos:1,1"), batch(pair, "standard"), batch(pair, "cos:1,1")]
        alone, eight, alone_standard, alone_cos, eight_standard, eight_cos = alternate(runs, self.repeats)
        how = FORWARDS[compile]
        return {
            f"tokens/s, 8 rows / 1 row, 88M, standard, {how}": len(prompts) * alone / eight,
            f"cos:1,1 / standard, 1 row, 88M pair, T=1, {how}": alone_standard / alone_cos,
            f"cos:1,1 / standard, 8 rows, 88M pair, T=1, {how}": eight_standard / eight_cos,
        }

    def profile(self) -> dict[str, float]:
        """What speculation's gain is made of: costs of forwards by rows and tokens, work per token, time outside."""
        pair, draft = self.ensemble(*self.large, rows=8), self.ensemble(self.zoo["code-s"])
        member, small = pair.members[0], draft.members[0]
        shapes = ((1, 1), (1, 2), (1, 6), (8, 1), (8, 2))
        runs = [forward(member, rows, tokens) for rows, tokens in shapes] + [forward(small, 1, 1)]
        one, two, six, eight, sixteen, drafted = alternate(runs, 4 * self.repeats)
        prompts = [self.tokenizer.encode(text) for text in PYTHON[:8]]
        params = [replace(SAMPLED, seed=seed) for seed in range(8)]
        stats = [result.stats for result in pair.generate(prompts, params, schedule="cos:1,1")]
        assisted = self.ensemble(self.large[0], self.zoo["code-s"], combine=combine.only(0))
        drafted_for = self.decode(assisted, schedule="speculative:5")
        drafted_for()
        alone = drafted_for()[0].stats
        names = ("standard", "cos:1,1")
        together = [lambda name=name: pair.generate(prompts, params, schedule=name) for name in names]
        standard, speculative = alternate(together, self.repeats)
        outside, inside = sum(each.outside for each in stats), sum(each.inside for each in stats)
        return {
            "forward of 2 tokens / 1 token, 1 row, 88M": two / one,
            "forward of 6 tokens / 1 token, 1 row, 88M": six / one,
            "forward of 2 tokens / 1 token, 8 rows, 88M": sixteen / eight,
            "forward of code-s / 88M, 1 row, 1 token": drafted / one,
            "cos:1,1 / standard, 8 requests on 8 rows, T=1": standard / speculative,
            "rounds per token, 8 rows, cos:1,1": sum(each.rounds for each in stats) / (8 * TOKENS),
            "share of time outside forwards, 8 rows, cos:1,1": outside / (outside + inside),
            "share of time in drafting forwards, 88M + code-s, speculative:5, T=0": alone.members[1].seconds
            / alone.seconds,
            "share of time outside forwards, 88M + code-s, speculative:5, T=0": alone.outside / alone.seconds,
        }

    def many(self) -> dict[str, float]:
        """64 prompts in one call, and one after the other."""
        ensemble = self.ensemble(*self.pair)
        prompts = [self.tokenizer.encode(text) for text in PYTHON] * 8
        together = lambda: ensemble.generate(prompts, SAMPLED)  # noqa: E731
        apart = lambda: [ensemble.generate(prompt, SAMPLED) for prompt in prompts]  # noqa: E731
        one, many = alternate([apart, together], max(1, self.repeats // 3))
        return {"64 prompts together / one by one, zoo pair, auto": one / many}

    def memory(self, requests: int) -> dict[str, float]:
        """Growth of resident memory from the first tenth of many requests to their end."""
        ensemble, process, dice = (
            self.ensemble(*(self.zoo[k] for k in ("code-m", "code-n"))),
            psutil.Process(),
            random.Random(1),
        )
        before, done = 0, 0
        while done < requests:
            prompts = [[dice.randrange(1, 4000) for _ in range(dice.randrange(1, 200))] for _ in range(50)]
            params = [SamplingParams(max_tokens=dice.randrange(1, 24), seed=k) for k in range(50)]
            ensemble.generate(prompts, params)
            done += 50
            gc.collect()
            if not before and done >= requests // 10:
                before = process.memory_info().rss
        return {f"growth of resident memory over {requests} requests": process.memory_info().rss / before - 1}


def main() -> None:
    """Measure, print, and write the result file if asked for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--compiled", action="store_true", help="measure speculation with compiled forwards too")
    parser.add_argument("--profile", action="store_true", help="only what explains the figures of speculation")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    bench, figures = Bench(arguments.repeats), {}
    if arguments.profile:
        figures |= bench.profile()
    for part in () if arguments.profile else (bench.two_members, bench.against_generate, bench.overhead, bench.many):
        figures |= part()
    for compile in () if arguments.profile else FORWARDS if arguments.compiled else ("off",):
        figures |= bench.against_assisted(compile) | bench.rows(compile)
    if not arguments.profile:
        figures |= bench.memory(arguments.requests)
    report(figures, BARS, arguments.output, tokens=TOKENS, repeats=arguments.repeats)


if __name__ == "__main__":
    main()
