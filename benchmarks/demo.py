"""Show and measure two collaborations: `python benchmarks/demo.py`, or `make demo`.

Each text is streamed with a colour trace first. Then the schedules are measured against `standard`.
"""

from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from speeds import compare

from unisono import combine
from unisono.bench.measure import Cell
from unisono.bench.prompts import PYTHON
from unisono.combine import Combination
from unisono.ensemble import Ensemble
from unisono.params import SamplingParams
from unisono.text.trace import Trace

SHOWN = SamplingParams(max_tokens=64, ignore_eos=True, seed=0)
PROMPTS = PYTHON[:5]
REPEATS = 3


@dataclass(frozen=True)
class Part:
    """One collaboration. `paper` is the schedule and the verification that the CoS paper uses for it."""

    name: str
    members: tuple[str, ...]
    combination: Combination
    temperature: float
    paper: str

    @property
    def heading(self) -> str:
        return f"{' + '.join(self.members)}, {self.combination.name}, temperature {self.temperature:g}"


PARTS = (
    Part("weighted pair", ("zoo:code-m", "zoo:code-n"), combine.weighted([0.5, 0.5]), 1.0, "cos:1,1 token"),
    Part("contrastive pair", ("zoo:code-m", "zoo:code-s"), combine.contrastive(0.1), 0.0, "cos:2,1 token"),
)


def main() -> None:
    """Show and measure a weighted ensemble at temperature 1 and a contrastive pair at temperature 0."""
    console = Console(highlight=False)
    measured = [(part, _part(console, part)) for part in PARTS]
    console.print("\n" + conclusion(measured))


def _part(console: Console, part: Part) -> list[Cell]:
    ensemble = Ensemble.load(part.members, part.combination)
    console.rule(part.name)
    console.print(f"{part.heading}\n", style="bold")
    _show(console, ensemble, replace(SHOWN, temperature=part.temperature))
    cells = _measure(console, ensemble, part)
    console.print(_table(part, cells))
    return cells


def _show(console: Console, ensemble: Ensemble, params: SamplingParams) -> None:
    trace = Trace(ensemble.tokenizer, ensemble.names, console)
    console.print(PROMPTS[0], style="dim", end="", markup=False)
    for piece in ensemble.stream(PROMPTS[0], params):
        trace.token(piece)
    console.print("\n")


def _measure(console: Console, ensemble: Ensemble, part: Part) -> list[Cell]:
    """Measure `standard`, the paper's schedule and `auto`, without a seed: with a seed `auto` does not verify in blocks."""
    params = replace(SHOWN, temperature=part.temperature, seed=None)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(PROMPTS) * REPEATS * 3)
        return compare(ensemble, PROMPTS, params, [part.paper, "auto"], REPEATS, lambda: progress.advance(task))


def _table(part: Part, cells: list[Cell]) -> Table:
    table = Table(
        "schedule",
        "tokens/s",
        "speed-up",
        "acceptance",
        "forwards per token",
        title=f"{len(PROMPTS)} prompts of {SHOWN.max_tokens} tokens, medians over {REPEATS} interleaved runs",
        title_justify="left",
    )
    for cell in cells:
        acceptance = "-" if cell.acceptance is None else f"{cell.acceptance:.2f}"
        forwards = " + ".join(f"{each:.2f}" for each in cell.forwards)
        name = f"{cell.schedule.split()[0]} (CoS paper)" if cell.schedule == part.paper else cell.schedule
        table.add_row(name, f"{cell.tokens_per_second:.1f}", f"{cell.speedup:.2f}", acceptance, forwards)
    return table


def conclusion(measured: list[tuple[Part, list[Cell]]]) -> str:
    """Return one sentence with the measured speed-ups."""
    found = [
        f"{cells[-1].speedup:.2f} times as fast as `standard` with the {part.name} "
        f"(the paper's schedule {cells[1].speedup:.2f} times)"
        for part, cells in measured
    ]
    return f"In this run `auto`, the default, was {', and '.join(found)}; every schedule follows the same law."


if __name__ == "__main__":
    main()
