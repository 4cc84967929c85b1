"""Log-probabilities of a prompt's own tokens, for `echo` with `logprobs`: what evaluation harnesses ask for."""

from collections.abc import Sequence

from unisono.combine.base import Combination
from unisono.ensemble import Ensemble
from unisono.errors import RequestError
from unisono.scoring import Scoring
from unisono.types import Commit


class Echo:
    """A prompt's tokens as a row that scores them; the first token has no log-probability.

    Args:
        prompts: token ids per member, which must be the same. top: of how many candidates to tell.

    Raises:
        RequestError: members read different prompts, or the caches have no room.
    """

    def __init__(
        self, ensemble: Ensemble, combination: Combination, prompts: Sequence[Sequence[int]], top: int
    ) -> None:
        first, *rest = prompts[0]
        if any(list(prompt) != [first, *rest] for prompt in prompts):
            raise RequestError("echo with logprobs needs members that read the same prompt")
        ensemble.engine.check_tokens([len(rest) + 1] * len(prompts))
        self._first = Commit(first, "drawn")
        self._scoring = Scoring(ensemble.members, combination, [[first]] * len(prompts), rest, top)
        self.row = self._scoring.row

    def commits(self) -> list[Commit]:
        """The tokens, once the row has ended."""
        scored = (Commit(each.token, "drawn", logprob=each.logprob, top=each.top) for each in self._scoring.commits)
        return [self._first, *scored]
