"""What a law of 151,936 and 262,144 tokens costs, and whether every schedule pays there.

    python benchmarks/vocabulary.py --output benchmarks/results/vocabulary.json
    python benchmarks/vocabulary.py --speed --output benchmarks/results/vocabulary.json
    python benchmarks/vocabulary.py --cells "top_p flat" --output FILE          # a part of it, added to the file

The first part measures processor time outside of forwards per committed token, with one thread and one row. The members are
random and tiny but for their vocabulary. Their output layer is scaled so that top_p=.9 keeps 59% of the vocabulary (flat) or
.33% (peaked): 90,000 or 500 of 151,936 tokens. Times are also told for a machine on which one softmax of 151,936 float32
numbers takes .12 ms; the softmax is measured before and after each cell.

The second part (`--speed`) compares schedules with `standard` in tokens per second. The members are the 90M pair with an
output layer of 151,936 rows, compiled. The added tokens have no probability, so the law is that of the pair. Calls alternate
until the 95% interval of the ratio is at most .06 wide, at least 6 and at most 30 times.
"""

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from unisono import Ensemble, SamplingParams, zoo
from unisono.bench.inflate import inflate
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance

HIDDEN = 32  # of random members
SPREADS = {"flat": 1.05, "peaked": 4.0}  # standard deviations of the logits
VOCABULARIES = (151_936, 262_144)
SOFTMAX = 0.12  # milliseconds, on the machine that the bars are meant for
LARGER = 1.8  # a bar at 262,144 tokens over the bar at 151,936
QWEN = {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1}
SAMPLING: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 1.0},
    "top_p": {"temperature": 1.0, "top_p": 0.9},
    "qwen": QWEN,
    "greedy": {"temperature": 0.0},
}
BARS = {"plain": 2.0, "top_p": 3.5, "qwen": 3.0, "greedy": 3.0, "plain seeded": 4.0, "top_p seeded": 5.0}
MEMBERS = ("code-m", "code-n")  # of the second part, enlarged
REPEATS = (6, 30)
WIDTH = 0.06
FACTS = ("commit", "versions", "python", "cpu", "cores", "threads", "memory_gib")


@dataclass(frozen=True)
class Cell:
    """One figure of the first part: sampling, law, schedule and vocabulary; `seed` for a seeded request."""

    sampling: str
    law: str
    schedule: str
    vocabulary: int
    seed: int | None = None

    @property
    def name(self) -> str:
        seeded = " seeded" if self.seed is not None else ""
        return f"{self.sampling}{seeded} {self.law} {self.schedule} {self.vocabulary}"

    @property
    def members(self) -> int:
        return 3 if self.sampling == "greedy" else 2

    @property
    def bar(self) -> float:
        bar = BARS[self.sampling + (" seeded" if self.seed is not None else "")]
        return bar * (LARGER if self.vocabulary > VOCABULARIES[0] else 1)


def cells() -> list[Cell]:
    """The cells of the first part, in an order in which each group of members is loaded once."""
    found = []
    for vocabulary in VOCABULARIES:
        for law in SPREADS:
            found += [Cell(each, law, plan, vocabulary) for each in ("plain", "top_p", "qwen") for plan in PLANS[2]]
            found += [Cell(each, law, "auto", vocabulary, seed=1) for each in ("plain", "top_p")]
            found += [Cell("greedy", law, plan, vocabulary) for plan in PLANS[3]]
    return found


PLANS = {2: ("standard", "cos:1,1"), 3: ("standard", "cos:1,1,1")}  # by the number of members


@dataclass(frozen=True)
class Race:
    """One figure of the second part: a schedule beside `standard`."""

    sampling: str
    rows: int
    schedule: str
    seed: int | None = None

    @property
    def name(self) -> str:
        return f"speed {self.sampling} x{self.rows} {self.schedule}{' seeded' if self.seed is not None else ''}"


RACES = [
    Race(sampling, rows, *method)
    for rows in (1, 8)
    for sampling in ("plain", "top_p", "qwen")
    for method in (("cos:1,1",), ("auto",), ("auto", 1))
]


@torch.no_grad()
def random_members(law: str, vocabulary: int, count: int) -> list[Qwen2ForCausalLM]:
    """Random members. All but the first differ from the first by small changes, as models of one family do."""
    torch.manual_seed(1)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(
        vocab_size=vocabulary, **sizes, num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=False
    )
    config.eos_token_id = config.bos_token_id = None
    first = Qwen2ForCausalLM(config).eval()
    torch.nn.init.normal_(first.lm_head.weight, std=SPREADS[law] / math.sqrt(HIDDEN))
    members = [first]
    for _ in range(count - 1):
        other = Qwen2ForCausalLM(config).eval()
        other.load_state_dict(first.state_dict())
        for weight in other.parameters():
            if weight.dim() > 1 and len(weight) < vocabulary:
                weight.add_(0.03 * torch.randn_like(weight))
        members.append(other)
    return members


def softmax_milliseconds(repeats: int = 50) -> float:
    """The median time of one softmax of 151,936 float32 numbers."""
    logits, times = torch.randn(VOCABULARIES[0]), []
    for _ in range(repeats):
        started = time.perf_counter()
        torch.softmax(logits, -1)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def cost(ensemble: Ensemble, cell: Cell, tokens: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of processor time outside of forwards per committed token: the median of some calls."""
    params = SamplingParams(max_tokens=tokens, ignore_eos=True, seed=cell.seed, **SAMPLING[cell.sampling])
    prompt = [5, 6, 7]
    ensemble.generate(prompt, replace(params, max_tokens=6), schedule=cell.schedule)
    before, times = softmax_milliseconds(), []
    for _ in range(repeats):
        started = time.process_time()
        (result,) = ensemble.generate([prompt], params, schedule=cell.schedule)
        spent, stats = time.process_time() - started, result.stats
        times.append(1e3 * spent * stats.outside / (stats.inside + stats.outside) / len(result.token_ids))
    softmax = statistics.median([before, softmax_milliseconds()])
    found = statistics.median(times)
    scaled = found * SOFTMAX / softmax
    return {
        "milliseconds": found,
        "softmax": softmax,
        "scaled": scaled,
        "bar": cell.bar,
        "holds": scaled <= cell.bar,
        "tokens per round": result.stats.tokens_per_round,
    }


def costs(wanted: list[Cell], tokens: int, repeats: int, tell: Callable[[str, Any], None]) -> None:
    """Measure the cells and tell each figure when it is known."""
    loaded: tuple[Any, ...] = ()
    for cell in wanted:
        if loaded[:1] != ((cell.law, cell.vocabulary, cell.members),):
            members = random_members(cell.law, cell.vocabulary, cell.members)
            weights = ",".join(["1"] * cell.members)
            ensemble = Ensemble.load(members, f"weighted:{weights}", compile="off", rows=1)
            loaded = ((cell.law, cell.vocabulary, cell.members), ensemble)
        tell(cell.name, cost(loaded[1], cell, tokens, repeats))


@torch.no_grad()
def padded(model: PreTrainedModel, vocabulary: int) -> PreTrainedModel:
    """The model with an output layer of so many rows; the logits of added rows are so low that they have no mass."""
    old, size = model.lm_head.weight, model.config.vocab_size
    head = torch.nn.Linear(old.shape[1], vocabulary, dtype=old.dtype)
    head.weight.zero_()[:size] = old
    head.bias.zero_()[size:] = -1e4
    model.lm_head = head
    model.config.tie_word_embeddings = False
    model.config.vocab_size = vocabulary
    return model


def padded_pair(vocabulary: int, compile: str = "on") -> Ensemble:
    """The enlarged pair with padded output layers, without a tokenizer: a tokenizer would name the added rows padding."""
    models = [AutoModelForCausalLM.from_pretrained(zoo.path(name), dtype=torch.float32) for name in MEMBERS]
    if compile == "on":
        models = [inflate(model).to(torch.bfloat16) for model in models]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*without compiled forwards")
        members = [padded(model, vocabulary) for model in models]
        return Ensemble.load(members, "weighted:0.5,0.5", compile=compile, rows=8)


def prompts(count: int) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(zoo.path(MEMBERS[0]))
    return [tokenizer.encode(PYTHON[index % len(PYTHON)]) for index in range(count)]


def speed(ensemble: Ensemble, texts: list[list[int]], race: Race, schedule: str, tokens: int) -> float:
    """Tokens per second of one call."""
    seed = race.seed if schedule == race.schedule else None
    params = SamplingParams(max_tokens=tokens, ignore_eos=True, seed=seed, **SAMPLING[race.sampling])
    started = time.perf_counter()
    results = ensemble.generate(texts, params, schedule=schedule, progress=False)
    return sum(len(result.token_ids) for result in results) / (time.perf_counter() - started)


def student(freedom: int, z: float = 1.959964) -> float:
    """The 97.5% quantile of Student's t for 5 degrees of freedom and more (Fisher's expansion, exact to .2%)."""
    first = (z**3 + z) / (4 * freedom)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return z + first + second + third


def interval(logs: list[float]) -> tuple[float, float]:
    """The 95% interval of a ratio from the logarithms of its repeats, by Student's t."""
    middle = statistics.mean(logs)
    half = student(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle - half), math.exp(middle + half)


def ratio(run: Callable[[str], float], schedule: str) -> dict[str, Any]:
    """The figures of one race. `run` returns the tokens per second of a call with a schedule."""
    for each in ("standard", schedule):
        run(each)
    logs: list[float] = []
    while len(logs) < REPEATS[0] or (len(logs) < REPEATS[1] and interval(logs)[1] - interval(logs)[0] > WIDTH):
        order = ["standard", schedule][:: -1 if len(logs) % 2 else 1]
        speeds = {each: run(each) for each in order}
        logs.append(math.log(speeds[schedule] / speeds["standard"]))
    low, high = interval(logs)
    middle = math.exp(statistics.mean(logs))
    return {"ratio": middle, "interval": [low, high], "repeats": len(logs), "holds": high >= 1 and low >= 0.95}


def races(wanted: list[Race], tokens: int, ensemble: Ensemble, tell: Callable[[str, Any], None]) -> None:
    """Measure the races and tell each figure when it is known."""
    for race in wanted:
        run = partial(speed, ensemble, prompts(race.rows), race, tokens=tokens)
        tell(
            race.name,
            ratio(run, race.schedule),
        )


class Document:
    """The result file. Figures of runs of one commit on one machine are merged."""

    def __init__(self, path: Path) -> None:
        self._path, facts = path, provenance()
        self._content: dict[str, Any] = {**facts, "commands": [], "figures": {}}
        if path.exists():
            self._content = json.loads(path.read_text(encoding="utf-8"))
            other = [fact for fact in FACTS if self._content[fact] != facts[fact]]
            if other:
                raise SystemExit(f"the file holds figures of another {other[0]}; name another file: {path}")
        self._content["commands"] = [*self._content["commands"], facts["command"]]

    def add(self, name: str, figure: dict[str, Any]) -> None:
        """Put a figure into the file, and print it."""
        self._content["figures"][name] = figure
        unfinished = self._path.with_name(self._path.name + ".unfinished")
        unfinished.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self._path)
        print(name, json.dumps(figure), flush=True)


def main() -> None:
    """Measure what is asked for, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="measure the second part")
    parser.add_argument("--cells", nargs="+", default=[""], help="only those whose name has one of these texts in it")
    parser.add_argument("--tokens", type=int, default=64, help="per row")
    parser.add_argument("--repeats", type=int, default=5, help="calls per cell of the first part")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    everything: list[Any] = RACES if asked.speed else cells()
    wanted = [each for each in everything if any(text in each.name for text in asked.cells)]
    if not wanted:
        parser.error(f"no cell has such a name; the names are: {', '.join(each.name for each in everything)}")
    if not asked.speed:
        torch.set_num_threads(1)
    document = Document(asked.output)
    if asked.speed:
        races(wanted, asked.tokens, padded_pair(VOCABULARIES[0]), document.add)
    else:
        costs(wanted, asked.tokens, asked.repeats, document.add)


if __name__ == "__main__":
    main()
