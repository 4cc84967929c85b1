"""HumanEval from a file. The functions are completed greedily. The tests of each problem check the function."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from unisono.ensemble import Ensemble
from unisono.evals.sandbox import passes
from unisono.evals.tasks import Outcome, Task, generated
from unisono.params import SamplingParams

FIELDS = ("prompt", "test", "entry_point")
STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint", "\n@")  # texts after a function body, as in the paper
MAX_TOKENS = 256


@dataclass(frozen=True)
class HumanEval(Task):
    """Programming problems with the fields `prompt`, `test` and `entry_point` (arXiv 2107.03374).

    The score of a problem is 1 if its greedy completion passes the test, else 0.
    """

    items: Sequence[dict[str, str]]
    name: str = "humaneval"
    unit = "pass@1"

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        params = SamplingParams(max_tokens=MAX_TOKENS, temperature=0, stop=STOPS, seed=0)
        prompts = [problem["prompt"] for problem in self.items]
        return generated(ensemble, prompts, params, self._solved, combine=combine, schedule=schedule)

    def _solved(self, texts: Sequence[str]) -> list[bool]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(passes, map(program, self.items, texts)))


def program(problem: dict[str, str], completion: str) -> str:
    """Return the program to run: the completed function, followed by the test of the problem."""
    return f"{problem['prompt']}{completion}\n{problem['test']}\ncheck({problem['entry_point']})\n"
