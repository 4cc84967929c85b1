"""What one more prompt costs: a model that reads several prompts at once, against the same model with one prompt.

    python benchmarks/twins.py --output benchmarks/results/twins.json

The members are one set of weights, which read prompts of their own (`product`, temperature 0, `standard`), so all of them
are scored in one forward pass. The model is code-m enlarged to 90 million weights, in bfloat16 and compiled; prompts have 32
tokens. Rounds alternate between the ensembles in one process; a figure is the median of the rounds' ratios of seconds per
token.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from unisono import Ensemble, SamplingParams, zoo
from unisono.bench.inflate import inflate
from unisono.bench.provenance import provenance

PROMPTS = (1, 2, 8)
BARS = {2: 1.15, 8: 1.5}
READ = 32  # tokens of a prompt


def load(members: int) -> Ensemble:
    """So many twins, each with a text of its own in front of the prompt."""
    model = inflate(AutoModelForCausalLM.from_pretrained(zoo.path("code-m"), dtype=torch.float32)).to(torch.bfloat16)
    sources = [{"model": model, "prompt": f"# {index}\n{{prompt}}", "name": f"m{index}"} for index in range(members)]
    combination = "product:" + ",".join(["1"] * members)
    tokenizer = AutoTokenizer.from_pretrained(zoo.path("code-m"))
    return Ensemble.load(sources, combination, tokenizer=tokenizer, compile="on", rows=1)


def seconds_per_token(ensemble: Ensemble, prompt: str, tokens: int) -> float:
    """Of one call, without the reading of the prompt."""
    params = SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True)
    pieces = ensemble.stream(prompt, params, schedule="standard")
    next(pieces)
    started = time.perf_counter()
    count = sum(piece.commit is not None for piece in pieces)
    return (time.perf_counter() - started) / count


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    ensembles = {members: load(members) for members in PROMPTS}
    tokenizer = ensembles[1].tokenizer
    text = Path(__file__).read_text(encoding="utf-8")
    prompt = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)[: READ - 4])
    rounds = []
    for index in range(asked.rounds + 1):
        found = {members: seconds_per_token(each, prompt, asked.tokens) for members, each in ensembles.items()}
        if index:  # the first round compiles and warms up
            rounds.append(found)
    figures = {
        str(members): {
            "milliseconds per token": 1e3 * statistics.median(each[members] for each in rounds),
            "against one prompt": statistics.median(each[members] / each[1] for each in rounds),
            "bar": BARS.get(members),
        }
        for members in PROMPTS
    }
    command = f"python benchmarks/twins.py --rounds {asked.rounds} --tokens {asked.tokens} --output {asked.output}"
    document = {"command": command, **provenance(), "rounds": rounds, "figures": figures}
    asked.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
