"""The demonstration behind `make demo`: two collaborations, streamed with trace, then measured against `standard`."""

from rich.console import Console
from rich.progress import Progress

from unisono import combine
from unisono.bench.measure import Cell, compare
from unisono.bench.prompts import PYTHON
from unisono.combine import Combination
from unisono.ensemble import Ensemble
from unisono.params import SamplingParams
from unisono.text.trace import Trace

PARAMS = SamplingParams(max_tokens=64, ignore_eos=True, seed=0)
PROMPTS = PYTHON[:5]
REPEATS = 3


def main() -> None:
    """Show and measure a weighted ensemble and a contrastive pair."""
    console = Console(highlight=False)
    parts: list[tuple[str, list[object], Combination, str]] = [
        ("Weighted ensemble of two equals", ["zoo:code-m", "zoo:code-n"], combine.weighted([0.5, 0.5]), "cos:1,1"),
        ("Contrastive pair, expert and amateur", ["zoo:code-m", "zoo:code-s"], combine.contrastive(0.1), "cos:2,1"),
    ]
    for title, members, combination, schedule in parts:
        ensemble = Ensemble.load(members, combination, schedule)
        console.rule(title)
        console.print(f"{' + '.join(map(str, members))}, {combination.name}, {schedule}\n", style="bold")
        _show(console, ensemble, PROMPTS[0])
        _report(console, _measure(console, ensemble, schedule))


def _show(console: Console, ensemble: Ensemble, prompt: str) -> None:
    trace = Trace(ensemble.names, console)
    console.print(prompt, style="dim", end="", markup=False)
    for piece in ensemble.stream(prompt, PARAMS):
        trace.token(piece)
    console.print("\n")


def _measure(console: Console, ensemble: Ensemble, schedule: str) -> list[Cell]:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(PROMPTS) * REPEATS * 2)
        return compare(ensemble, PROMPTS, PARAMS, [schedule], REPEATS, lambda: progress.advance(task))


def _report(console: Console, cells: list[Cell]) -> None:
    standard, cos = cells
    ratio, acceptance, predicted = (value or 0.0 for value in (cos.cost, cos.acceptance, cos.predicted))
    console.print(
        f"{len(PROMPTS)} prompts of {PARAMS.max_tokens} tokens, median of each over {REPEATS} interleaved runs:\n"
        f"  standard {standard.tokens_per_second:6.1f} tokens/s\n"
        f"  {cos.schedule:8} {cos.tokens_per_second:6.1f} tokens/s, speed-up {cos.speedup:.2f}x "
        f"(prompts {min(cos.speedups):.2f}-{max(cos.speedups):.2f})\n"
        f"  acceptance {acceptance:.2f}, cost ratio {ratio:.2f}: the paper's formula predicts "
        f"{predicted:.2f}x\n"
        f"  forwards per token {' + '.join(f'{each:.2f}' for each in cos.forwards)}, standard "
        f"{' + '.join(f'{each:.2f}' for each in standard.forwards)}"
    )


if __name__ == "__main__":
    main()
