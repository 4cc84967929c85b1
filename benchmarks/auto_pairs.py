"""The members and the prompts of `auto.py`."""

import copy
import gc
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import AutoTokenizer, PreTrainedModel

from unisono import Ensemble, zoo
from unisono.bench import members
from unisono.bench.prompts import EDITS, PYTHON

VOCABULARY = 151_936  # rows of the output layer of a padded member
LOW = -1e4  # the logit of an added token; its probability is 0 in float32


@dataclass(frozen=True)
class Pair:
    """Members that are loaded together.

    combine: the combination, if a call names none. padded: whether the members have `VOCABULARY` tokens.
    """

    members: tuple[str, ...]
    dtype: str = "bfloat16"
    combine: str | None = "weighted:0.5,0.5"
    padded: bool = False
    compile: str = "on"


M, N = "zoo:code-m@90M", "zoo:code-n@90M"
PAIRS = {
    "zoo": Pair(("zoo:code-m", "zoo:code-n"), "float32"),
    "90M": Pair((M, N)),
    "padded": Pair((M, N), padded=True),
    "90M+code-s": Pair((M, "zoo:code-s")),
    "one 90M": Pair((M,), combine=None),
    "one 90M, drafted for": Pair((M, N), combine="only:0"),
}


@torch.no_grad()
def padded(model: PreTrainedModel, rows: int) -> PreTrainedModel:
    """Return a copy of a model whose vocabulary has `rows` tokens. The law stays the same.

    The output layer gets a bias. The bias is 0 for the tokens of `model` and `LOW` for the added tokens.
    """
    large = copy.deepcopy(model)
    given = large.get_output_embeddings().weight
    size, width = given.shape
    embedding = torch.nn.Embedding(rows, width, dtype=given.dtype)
    output = torch.nn.Linear(width, rows, dtype=given.dtype)
    for weight, old in ((embedding.weight, large.get_input_embeddings().weight), (output.weight, given)):
        weight.zero_()[:size] = old
    output.bias.fill_(LOW)[:size] = 0
    large.set_input_embeddings(embedding.requires_grad_(False))
    large.set_output_embeddings(output.requires_grad_(False))
    large.config.vocab_size, large.config.tie_word_embeddings = rows, False
    return large


def load(name: str) -> Ensemble:
    """Load a pair of `PAIRS`. A padded pair has no tokenizer, because the common vocabulary ends with the tokenizer's.

    A warning that a member has no compiled forwards is an error here.
    """
    pair = PAIRS[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*without compiled forwards")
        if not pair.padded:
            return members.load(pair.members, pair.combine, dtype=pair.dtype, compile=pair.compile)
        names = [each.removeprefix("zoo:").split("@") for each in pair.members]
        models = [padded(members.enlarge(*each, pair.dtype), VOCABULARY) for each in names]
        sources = [{"model": model, "name": "@".join(each)} for model, each in zip(models, names, strict=True)]
        return Ensemble.load(sources, pair.combine, compile=pair.compile)


def free() -> None:
    """Free the memory of members that no ensemble uses. Ensembles of earlier calls may still refer to them."""
    members.enlarge.cache_clear()
    gc.collect()


def fresh(ensemble: Ensemble, rows: int) -> Ensemble:
    """Return an ensemble of the same loaded members that has measured nothing yet."""
    return Ensemble(ensemble.lineup, ensemble.prompts, ensemble.combination(), rows=rows)


def prompts(name: str) -> list[list[int]]:
    """Return the token ids of the prompts with this name: `python` or `edits`."""
    tokenizer = AutoTokenizer.from_pretrained(zoo.path("code-m"))
    return [tokenizer.encode(text) for text in TEXTS[name]]


BEGINNINGS = (
    "class Queue:\n    def __init__(self, size):\n        self.size = size\n",
    "def parse_date(text):\n    year, month, day = text.split(",
    "import logging\n\nlogger = logging.getLogger(__name__)\n\n\ndef connect(host, port):\n",
    "def gcd(a, b):\n    while b:\n",
    "for index, name in enumerate(names):\n    print(",
    "class Node:\n    def __init__(self, value, left=None, right=None):\n",
    'def save(self, path):\n    """Write the settings to a file."""\n',
    "assert response.status_code == 200\ndata = response.json()\n",
    "def median(numbers):\n    numbers = sorted(numbers)\n    middle = len(numbers) // 2\n",
    "if __name__ == '__main__':\n    parser = argparse.ArgumentParser()\n",
    "def retry(function, attempts=3):\n    for attempt in range(attempts):\n        try:\n",
    "class Circle(Shape):\n    def area(self):\n",
    "words = {}\nwith open('words.txt') as lines:\n    for line in lines:\n",
    "def flatten(nested):\n    result = []\n    for item in nested:\n        if isinstance(item, list):\n",
    "@property\ndef full_name(self):\n",
    "def transpose(matrix):\n    rows = len(matrix)\n",
    "def word_count(text):\n    counts = {}\n    for word in text.split():\n",
    "class Stack:\n    def push(self, item):\n        self.items.append(item)\n",
    "import os\nimport shutil\n\nfor name in os.listdir(source):\n",
    "def is_prime(number):\n    if number < 2:\n        return False\n    for divisor in range(2,",
    "class Account:\n    def deposit(self, amount):\n        if amount <= 0:\n",
    "with socket.create_connection((host, port)) as connection:\n",
    "def test_mean_of_no_numbers():\n    with pytest.raises(",
    "def binary_search(values, wanted):\n    low, high = 0, len(values) - 1\n",
)
TEXTS: dict[str, Sequence[str]] = {"python": (*PYTHON, *BEGINNINGS), "edits": EDITS}
