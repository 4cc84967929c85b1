"""Log-probabilities of a prompt's own tokens, for `echo` with `logprobs`: what evaluation harnesses ask for."""

from collections.abc import Sequence

from unisono.combine.base import Combination
from unisono.ensemble import Ensemble
from unisono.errors import RequestError
from unisono.scoring import Scoring, score_all
from unisono.types import Commit


def echo(ensemble: Ensemble, combination: Combination, prompts: Sequence[Sequence[int]], top: int) -> list[Commit]:
    """The prompt's tokens with their log-probabilities under the combination; the first has none.

    Args:
        prompts: token ids per member, which must be the same. top: of how many candidates to tell.

    Raises:
        RequestError: members read different prompts, or the caches have no room.
    """
    ids = list(prompts[0])
    if any(list(prompt) != ids for prompt in prompts):
        raise RequestError("echo with logprobs needs members that read the same prompt")
    first = Commit(ids[0], "drawn")
    if len(ids) == 1:
        return [first]
    ensemble.engine.check_tokens([len(ids)] * len(prompts))
    scoring = Scoring(ensemble.members, combination, [ids[:1]] * len(prompts), ids[1:], top)
    score_all([scoring], ensemble.engine)
    return [first, *(Commit(each.token, "drawn", logprob=each.logprob, top=each.top) for each in scoring.commits)]
