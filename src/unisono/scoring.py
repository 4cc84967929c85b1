"""Log-probabilities of given tokens under a combination: rows that commit what they are told to, and report on it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unisono.combine.base import Combination
from unisono.engine import Engine
from unisono.members.base import Member
from unisono.rng import KeyedNoise
from unisono.row import Row
from unisono.schedules import standard
from unisono.task import Method, Task
from unisono.types import Commit, Score
from unisono.verify import Block, Decisions, Verification
from unisono.warp import Warp


def accept_all(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Every given token stands, whatever its law."""
    accepted = torch.tensor([len(block.tokens) for block in blocks], device=targets.device)
    return Decisions(accepted, torch.zeros_like(accepted))


GIVEN = Verification("given", accept_all)


class Scoring:
    """Tokens to be scored, as a row of the engine.

    Args:
        prompts: per member what comes before the tokens, at least one token.
        top: how many of the most probable tokens to report at each position.
        drafts: how many of the last members are not part of the combination.
    """

    def __init__(
        self,
        members: Sequence[Member],
        combination: Combination,
        prompts: Sequence[Sequence[int]],
        tokens: Sequence[int],
        top: int = 1,
        drafts: int = 0,
    ) -> None:
        task = Task(prompts, Warp(), len(tokens), logprobs=top, given=tuple(tokens))
        method = Method(combination, standard(), GIVEN, proposer=0, drafts=drafts)
        self.commits: list[Commit] = []
        self.row = Row(members, method, task, KeyedNoise(0), self._take)
        self.row.finished = not tokens

    def score(self) -> Score:
        """The log-probabilities, once the row has ended."""
        if self.row.error is not None:
            raise self.row.error
        tokens = tuple(commit.token for commit in self.commits)
        greedy = all(commit.top[:1] and commit.top[0][0] == commit.token for commit in self.commits)
        return Score(tokens, tuple(commit.logprob for commit in self.commits if commit.logprob is not None), greedy)

    def _take(self, commits: list[Commit]) -> None:
        self.commits += commits


def score_all(
    scorings: Sequence[Scoring], engine: Engine, progress: Callable[[], object] = lambda: None
) -> list[Score]:
    """Score together; `progress` is called as each ends. An error in one cancels all and is raised."""
    try:
        engine.submit(*(scoring.row for scoring in scorings))
        for scoring in scorings:
            engine.run(scoring.row)
            progress()
        return [scoring.score() for scoring in scorings]
    finally:
        for scoring in scorings:
            engine.cancel(scoring.row)
