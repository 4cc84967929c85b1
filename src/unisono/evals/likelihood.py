"""Log-probabilities of many texts together, with what they took."""

from collections.abc import Mapping, Sequence
from typing import Any

from unisono.ensemble import Ensemble
from unisono.request import Scoring, score_all
from unisono.types import Score

Pair = tuple[list[int], list[int]]  # the token ids of a context, and those to score behind it


def scorings(ensemble: Ensemble, asked: Sequence[Sequence[Pair]], method: Mapping[str, Any]) -> list[Scoring]:
    """Score token ids, one pair per member each; under guidance the second member reads the negative prompt.

    Raises:
        RequestError: context and target do not fit a member.
    """
    combination = ensemble.method(**method).combination
    made = []
    for pairs in asked:
        contexts, target = [context for context, _ in pairs], pairs[0][1]
        if combination.takes_negative():
            contexts = ensemble.prompts.negative(contexts, None)
        ensemble.engine.check_tokens([len(context) + len(target) for context in contexts])
        made.append(Scoring(ensemble.members, combination, contexts, target))
    score_all(made, ensemble.engine)
    return made


def log_probabilities(
    ensemble: Ensemble, pairs: Sequence[tuple[str, str]], combine: object = None
) -> tuple[list[Score], tuple[int, ...]]:
    """Scores of (prompt, continuation) pairs under a combination, and the members' forwards for all of them."""
    asked = [ensemble.prompts.pair(*pair) for pair in pairs]
    found = scorings(ensemble, asked, {"combine": combine})
    counts = [[member.forwards for member in scoring.row.stats.members] for scoring in found]
    return [scoring.score() for scoring in found], tuple(map(sum, zip(*counts, strict=True)))
