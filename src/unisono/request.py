"""Requests: rows that decode the text of a sample, and rows that score given tokens."""

import secrets
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unisono.combine.base import Combination
from unisono.combine.selection import only
from unisono.decoding.blocks import Block, Decisions
from unisono.decoding.engine import Engine
from unisono.decoding.events import Listener
from unisono.decoding.row import Row
from unisono.decoding.schedules import standard
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import Verification
from unisono.errors import RequestError
from unisono.members.base import Context, Reading
from unisono.members.lineup import Lineup
from unisono.params import SamplingParams
from unisono.sampling.constraint import Constraint, require_mask
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.text.prompts import Prepared, Prompts
from unisono.text.transcript import Transcript
from unisono.types import Commit, Piece, Result, Score


def accept_all(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Accept all given tokens without regard to their probabilities."""
    accepted = torch.tensor([len(block.tokens) for block in blocks], device=targets.device)
    return Decisions(accepted, torch.zeros_like(accepted))


GIVEN = Verification("given", accept_all)


class Scoring:
    """A computation of the log-probabilities of given tokens. A row of the engine runs the computation.

    Args:
        prepared: the contexts of the members, and the tokens to score.
        top: how many of the most probable tokens to report at each position.
    """

    def __init__(self, lineup: Lineup, combination: Combination, prepared: Prepared, top: int = 1) -> None:
        before, prompt = _prompt_scorings(lineup, combination, prepared.contexts, prepared.warp)
        task = Task(
            prepared.contexts,
            prepared.warp,
            len(prepared.units),
            logprobs=top,
            given=prepared.units,
            prompt_loglikelihood=prompt,
        )
        method = Method(combination, standard(), GIVEN, proposer=0)
        self.commits: list[Commit] = []
        self.logprobs: list[float] = []  # the log-probabilities of the commits
        self.row = Row(lineup, method, task, KeyedNoise(0), self._take)
        self.row.finished = not prepared.units
        self.row.before = [row for scoring in before for row in scoring.rows]

    @property
    def rows(self) -> list[Row]:
        """The rows that the engine must run for the scoring. All other rows must end before the last row starts."""
        return [*self.row.before, self.row]

    def _take(self, commits: list[Commit]) -> None:
        self.commits += commits
        self.logprobs += [commit.logprob for commit in commits if commit.logprob is not None]

    def score(self) -> Score:
        """Return the score of the tokens. Raise the error of a failed row, and RequestError for a cancelled row."""
        if self.row.error is not None:
            raise self.row.error
        if len(self.commits) < self.row.task.limit:
            raise RequestError("the scoring was cancelled before its end")
        tokens = tuple(commit.token for commit in self.commits)
        greedy = all(commit.top[:1] and commit.top[0][0] == commit.token for commit in self.commits)
        return Score(tokens, tuple(commit.logprob for commit in self.commits if commit.logprob is not None), greedy)


def _prompt_scorings(
    lineup: Lineup, combination: Combination, contexts: Sequence[Context], warp: Warp
) -> tuple[list[Scoring], tuple[Sequence[float], ...]]:
    """Return one scoring of the prompt per member, and one list of log-probabilities per scoring.

    The lists are empty until the engine has run the scorings. If the combination does not read
    `prompt_loglikelihood`, there are no scorings and no lists.
    """
    if "prompt_loglikelihood" not in combination.reads:
        return [], ()
    scorings = []
    for index in lineup.combined:
        tokens = contexts[index].tokens
        first = Reading(tokens[:1])
        own = tuple(member.context(first, warp) for member in lineup.members)
        scorings.append(Scoring(lineup, only(index), Prepared(own, tokens[1:], warp), top=0))
    return scorings, tuple(scoring.logprobs for scoring in scorings)


class Request:
    """One sample of one prompt: its row in the engine, and the pieces of text that the row has produced.

    Args:
        facts: fields of the result: seed, index of the sample, names of combination, schedule and verification.
        prompt: the scoring of the prompt's tokens; None if the prompt's log-probabilities are not reported.
    """

    def __init__(
        self,
        lineup: Lineup,
        method: Method,
        task: Task,
        transcript: Transcript,
        facts: Mapping[str, Any],
        prompt: Scoring | None = None,
    ) -> None:
        self.row = Row(lineup, method, task, KeyedNoise(facts["seed"], facts["sample"]), self._take)
        self._transcript = transcript
        self._facts = facts
        self._prompt = prompt
        self._pieces: deque[Piece] = deque()
        self._result: Result | None = None

    def listen(self, listener: Listener) -> None:
        """Send to `listener` the row's events of all kinds in `listener.hears` (see `unisono.decoding.events`)."""
        self.row.listen(listener)

    @property
    def rows(self) -> list[Row]:
        """The rows that the engine must run. The rows that score the prompt for all samples are only in sample 0."""
        if self._facts["sample"]:
            return [self.row]
        return [*([] if self._prompt is None else self._prompt.rows), self.row]

    def stream(self, engine: Engine) -> Generator[Piece, None, None]:
        """Run the request and yield each piece when it is ready. Closing the iterator cancels the request."""
        engine.submit(*self.rows)
        try:
            while not self.row.finished:
                engine.run(self.row, waiting=lambda: not self._pieces)
                while self._pieces:
                    yield self._pieces.popleft()
            for row in self.rows:
                engine.run(row)
        except Exception:
            yield from self._pieces  # pieces from before the error
            raise
        finally:
            for row in self.rows:
                engine.cancel(row)
        yield from self._pieces
        yield self._last()

    def drain(self) -> list[Piece]:
        """Return the new pieces since the last call. The final piece of the request has the result.

        `drain` is for callers that call `engine.step` themselves. Do not call `drain` again after the final piece, an
        error or a cancellation.

        Raises:
            Exception: the error that ended the row.
        """
        pieces = list(self._pieces)
        self._pieces.clear()
        if self.row.error is not None:
            raise self.row.error
        return [*pieces, self._last()] if self.row.finished else pieces

    def run(self, engine: Engine) -> Result:
        """Run the request and return the result. Raise the error that ended the row."""
        *_, last = self.stream(engine)
        assert last.result is not None
        return last.result

    def outcome(self) -> Result | Exception | None:
        """Return the result, or the error that ended the request. Return None while the request is running."""
        rows = [self.row] if self._prompt is None else [self.row, self._prompt.row]
        failed = next((row.error for row in rows if row.error is not None), None)
        if failed is None and self._result is None and all(row.finished for row in rows):
            self._result = self._last().result
        return failed or self._result

    def _take(self, commits: list[Commit]) -> int | None:
        """Add commits to the text until the text ends. Return how many were added; None if the text goes on."""
        for count, commit in enumerate(commits, 1):
            self._pieces.append(self._transcript.push(commit))
            if self._transcript.finish_reason:
                return count
        return None

    def _last(self) -> Piece:
        text = self._transcript.close()
        reason = self._transcript.finish_reason
        assert reason is not None
        result = Result(
            self._transcript.text,
            self._transcript.token_ids,
            reason,
            tuple(self._transcript.commits),
            self.row.stats,
            prompt_logprobs=self._prompt_logprobs(),
            **self._facts,
        )
        return Piece(text, None, reason, result, self._transcript.unfinished)

    def _prompt_logprobs(self) -> tuple[float | None, ...] | None:
        """Return one log-probability per token of the first member's prompt; None for tokens that are not scored."""
        if self._prompt is None:
            return None
        scored = self._prompt.score().logprobs
        return (None,) * (len(self.row.task.contexts[0].tokens) - len(scored)) + scored


def task_of(lineup: Lineup, prompts: Prompts, prepared: Prepared, params: SamplingParams) -> Task:
    """Return the task that all samples of a prompt share.

    Raises:
        RequestError: the prompt is too long, or a parameter names an unknown token or does not fit the members.
    """
    ends = frozenset(params.stop_token_ids)
    if not params.ignore_eos:
        ends |= lineup.end_ids | prepared.ends
    edits = prompts.edits(params, ends)
    if lineup.warps and not (edits.nothing and params.constraint is None):
        raise RequestError("biases, penalties, masks and processors need members that do not warp by themselves")
    return Task(
        contexts=prepared.contexts,
        warp=prepared.warp,
        limit=min(params.max_tokens, prompts.room(prepared.contexts)),
        ends=ends,
        edits=edits,
        constraint=_constraint(params, prompts.vocabulary.size),
        logprobs=params.top_logprobs if params.logprobs else None,
        processed=params.logprobs_mode == "processed",
        prefix=prepared.prefix,
    )


def _constraint(params: SamplingParams, vocabulary: int) -> Constraint | None:
    constraint: Constraint | None = params.constraint
    if constraint is not None:
        require_mask(constraint.mask(), vocabulary)
    return constraint


def samples(
    lineup: Lineup,
    method: Method,
    task: Task,
    params: SamplingParams,
    tokenizer: Any,
    prompt: Scoring | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[Request]:
    """Return the `params.n` samples of one prompt as requests. The prompt is read once for all samples.

    Args:
        tokenizer: turns tokens into text; None for no text. prompt: the scoring of the prompt's tokens, or None.
        given: fields of the results that describe the prompt.
    """
    # 53 bits: every JSON reader keeps these numbers exactly
    seed = secrets.randbits(53) if params.seed is None else params.seed
    followed = {name: value for name, value in lineup.sampling.items() if getattr(params, name) == value}
    before, prompt_loglikelihood = _prompt_scorings(lineup, method.combination, task.contexts, task.warp)
    task = replace(task, prompt_loglikelihood=prompt_loglikelihood)
    requests = []
    for sample in range(params.n):
        transcript = Transcript(tokenizer, task.prompt[-6:], params, task.ends, task.limit)
        facts = {**method.names, **(given or {}), "seed": seed, "sample": sample, "generation_config": followed}
        requests.append(Request(lineup, method, task, transcript, facts, prompt))
    rows = [request.row for request in requests]
    for row in rows:
        row.siblings = rows
        row.before = [each for scoring in before for each in scoring.rows]
    return requests


def score_all(scorings: Sequence[Scoring], engine: Engine) -> list[Score]:
    """Run all scorings together and return their scores. If a scoring fails, cancel the others and raise the error."""
    try:
        engine.submit(*(row for scoring in scorings for row in scoring.rows))
        for scoring in scorings:
            engine.run(scoring.row)
        return [scoring.score() for scoring in scorings]
    finally:
        for row in [row for scoring in scorings for row in scoring.rows]:
            engine.cancel(row)
