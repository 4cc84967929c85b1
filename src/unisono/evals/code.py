"""HumanEval from a file: functions are completed greedily, then run against their tests."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from unisono.ensemble import Ensemble
from unisono.evals.sandbox import passes
from unisono.evals.tasks import Outcome, forwards_of
from unisono.params import SamplingParams

FIELDS = ("prompt", "test", "entry_point")
STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint", "\n@")  # the end of a function's body, as in the paper's code
MAX_TOKENS = 256


@dataclass(frozen=True)
class HumanEval:
    """Problems with `prompt`, `test` and `entry_point` (arXiv 2107.03374); pass@1 of the greedy completion."""

    problems: Sequence[dict[str, str]]
    name: str = "humaneval"
    unit: str = "pass@1"
    higher: bool = True

    def __len__(self) -> int:
        return len(self.problems)

    def first(self, count: int) -> "HumanEval":
        return replace(self, problems=self.problems[:count])

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        params = SamplingParams(max_tokens=MAX_TOKENS, temperature=0, stop=STOPS, seed=0)
        started = time.perf_counter()
        prompts = [problem["prompt"] for problem in self.problems]
        results = ensemble.generate(prompts, params, combine=combine, schedule=schedule, progress=False)
        seconds = time.perf_counter() - started
        texts = tuple(result.text for result in results)
        with ThreadPoolExecutor(2) as pool:
            solved = pool.map(passes, map(program, self.problems, texts))
        scores = tuple(float(each) for each in solved)
        tokens = sum(result.stats.tokens for result in results)
        return Outcome(results[0].combination, scores, seconds, tokens, forwards=forwards_of(results), texts=texts)


def program(problem: dict[str, str], completion: str) -> str:
    """What is run: the function as completed, then the problem's test of it."""
    return f"{problem['prompt']}{completion}\n{problem['test']}\ncheck({problem['entry_point']})\n"
