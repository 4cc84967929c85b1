"""Speed of one commit: every cell once, in one process, with compiled forwards. `two_commits.py` starts it.

Reads a JSON object from standard input and writes one to standard output. `cells`: lists of a pair, a number of rows and a
schedule; `tokens`: per row; `seed`. With 0 tokens it only loads the pairs, which compiles what was not compiled before.

Modules move between commits, so it imports little of the package: `unisono` itself, `unisono.bench.inflate` and
`unisono.bench.provenance`.
"""

import json
import sys
import time
import warnings
from collections import Counter
from itertools import groupby
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging

from unisono import Ensemble, SamplingParams, zoo
from unisono.bench.inflate import inflate
from unisono.bench.provenance import provenance

MEMBERS = ("code-m", "code-n")
ENLARGED = {"zoo": False, "90M": True}  # pairs; an enlarged one is in bfloat16, the others in float32
VOCABULARY = 151_936  # tokens of the pair `152k`: random members, tiny but for their vocabulary, not compiled
CALLS = {
    "zoo": 4,
    "90M": 1,
    "152k": 1,
}  # that are timed per cell, one after the other: those of small members are short
SAMPLING = {"152k": {"top_p": 0.9}}
WARM = 16  # tokens of a call before the timed ones
FACTS = ("commit", "versions", "python", "cpu", "cores", "threads", "memory_gib")
PROMPTS = (
    'def word_count(text):\n    """Count how often each word occurs."""\n    counts = {}\n',
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "import os\nimport shutil\n\n\ndef copy_files(source, target):\n    for name in os.listdir(source):\n",
    "def is_prime(n):\n    if n < 2:\n        return False\n    for divisor in range(2,",
    "class Account:\n    def __init__(self, owner, balance=0):\n        self.owner = owner\n",
    "with open(path) as file:\n    for line in file:\n        line = line.strip()\n",
    'def test_empty_list():\n    """The mean of no numbers is an error."""\n    with pytest.raises(',
    "def binary_search(values, wanted):\n    low, high = 0, len(values) - 1\n    while low <= high:\n",
)


def random_model(seed: int) -> Qwen2ForCausalLM:
    """A member with the vocabulary of Qwen and little else, whose laws are as flat as those of a real one are."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(
        vocab_size=VOCABULARY, **sizes, num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=False
    )
    config.eos_token_id = config.bos_token_id = None
    model = Qwen2ForCausalLM(config).eval()
    torch.nn.init.normal_(model.lm_head.weight, std=0.35)
    return model


def load(pair: str) -> Ensemble:
    """The pair as loaded models, compiled; a warning that a member cannot be compiled is an error here."""
    if pair == "152k":
        first, second = random_model(1), random_model(1)
        with torch.no_grad():
            for weight in second.parameters():
                if weight.dim() > 1 and len(weight) < VOCABULARY:
                    weight.add_(0.03 * torch.randn_like(weight))
        return Ensemble.load([first, second], "weighted:0.5,0.5", compile="off", rows=len(PROMPTS))
    models = [AutoModelForCausalLM.from_pretrained(zoo.path(name), dtype=torch.float32) for name in MEMBERS]
    if ENLARGED[pair]:
        models = [inflate(model).to(torch.bfloat16) for model in models]
    tokenizer = AutoTokenizer.from_pretrained(zoo.path(MEMBERS[0]))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*without compiled forwards")
        return Ensemble.load(models, "weighted:0.5,0.5", tokenizer=tokenizer, compile="on", rows=len(PROMPTS))


def call(ensemble: Ensemble, pair: str, rows: int, schedule: str, tokens: int, seed: int) -> dict[str, Any]:
    """What one call takes: tokens, seconds, and seconds outside of forwards."""
    params = SamplingParams(max_tokens=tokens, temperature=1, seed=seed, ignore_eos=True, **SAMPLING.get(pair, {}))
    prompts = [[5, 6, 7 + row] for row in range(rows)] if pair == "152k" else list(PROMPTS[:rows])
    started = time.perf_counter()
    results = ensemble.generate(prompts, params, schedule=schedule, progress=False)
    seconds = time.perf_counter() - started
    stats = [result.stats for result in results]
    tokens, outside = sum(each.tokens for each in stats), sum(each.outside for each in stats)
    return {"tokens": tokens, "seconds": seconds, "outside": outside}


def measure(cells: list[list[Any]], tokens: int, seed: int) -> list[dict[str, Any]]:
    """What each cell's calls took together, pair by pair, so that only one pair is held."""
    found = []
    for pair, group in groupby(cells, key=lambda cell: cell[0]):
        ensemble = load(pair)
        for _, rows, schedule in group if tokens else ():
            call(ensemble, pair, rows, schedule, min(WARM, tokens), seed)
            total = Counter[str]()
            for index in range(CALLS[pair]):
                total.update(call(ensemble, pair, rows, schedule, tokens, seed * CALLS[pair] + index))
            found.append(dict(total))
        del ensemble
    return found


def main() -> None:
    """Measure what is asked for."""
    asked = json.load(sys.stdin)
    logging.disable_progress_bar()
    found, facts = measure(**asked), provenance()
    json.dump({"facts": {key: facts[key] for key in FACTS}, "calls": found}, sys.stdout)


if __name__ == "__main__":
    main()
