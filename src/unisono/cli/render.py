"""The summary that is printed below a generated text."""

from unisono.ensemble import Ensemble
from unisono.params import SamplingParams
from unisono.types import Result


def summary(result: Result, ensemble: Ensemble, params: SamplingParams) -> str:
    """Return one line with tokens, speed, acceptance, forwards and method.

    The line ends with a note if the same seed may give another text in the next run.
    """
    stats = result.stats
    acceptance = "- (nothing proposed)" if stats.acceptance is None else f"{stats.acceptance:.2f}"
    forwards = ", ".join(f"{member.name} {member.forwards}" for member in stats.members)
    taken = "".join(f", {name} {value:g} of generation_config" for name, value in result.generation_config.items())
    return (
        f"{stats.tokens} tokens, {stats.tokens_per_second:.1f} tokens/s, acceptance {acceptance}, forwards {forwards} "
        f"({result.combination}, {result.schedule}, seed {result.seed}, {result.finish_reason}{taken})"
    ) + _reservation(result, params, ensemble.lineup.rounding)


def _reservation(result: Result, params: SamplingParams, rounding: str | None) -> str:
    """Return a note if the same seed may give another text in the next run, else an empty text."""
    if result.schedule != "auto":
        return ""
    if params.seed is None and params.temperature and result.verification != "coupled":
        return f"; --seed {result.seed} gives another text: without --seed, auto decides by times"
    return f"; rounding in {rounding} may tip a near-tie: --deterministic repeats the text" if rounding else ""
