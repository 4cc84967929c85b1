"""Turn committed tokens into pieces of text and find the end of the text."""

from collections.abc import Sequence
from typing import Any

from unisono.params import SamplingParams
from unisono.tokens.detokenizer import Detokenizer, StopStrings
from unisono.tokens.token_bytes import table
from unisono.types import Commit, FinishReason, Piece


class Transcript:
    """The output of one request. The output does not depend on how many tokens are decoded at a time.

    Args:
        tokenizer: a tokenizer of transformers, or None. Without a tokenizer, all text is empty.
        context: the last tokens of the prompt.
        ends: ids that end the text. An end id is part of `token_ids`. Its name is part of the text only if special
            tokens are not skipped and `include_stop` is set.
        limit: the largest number of tokens in the output.
    """

    def __init__(
        self, tokenizer: Any, context: Sequence[int], params: SamplingParams, ends: frozenset[int], limit: int
    ) -> None:
        self.commits: list[Commit] = []
        self.text = ""
        self.unfinished = ""  # after `close`: the text of an incomplete last character
        self.finish_reason: FinishReason | None = None
        self._shown = not params.skip_special_tokens
        self._included = params.include_stop
        self._detokenizer = Detokenizer(tokenizer, context, self._shown)
        self._names = table(tokenizer).special if tokenizer is not None and (params.stop or self._shown) else {}
        self._stops = StopStrings(params.stop, params.include_stop, self._names.values())
        self._unchecked = params.min_tokens  # stop strings that end before this token are ignored
        self._ends = ends
        self._limit = limit

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(commit.token for commit in self.commits)

    def push(self, commit: Commit) -> Piece:
        """Add one token and return the piece of text that it adds. If the token ends the text, set `finish_reason`."""
        self.commits.append(commit)
        ended = commit.token in self._ends
        armed = len(self.commits) >= self._unchecked
        name = self._names.get(commit.token, "")
        hidden = not self._shown or (ended and not self._included)  # for special tokens: whether they are skipped
        added = "" if ended and (hidden or not name) else self._detokenizer.push(commit.token)
        text, stopped = self._stops.push(added, armed, name if hidden else "")
        if ended or stopped:
            self.finish_reason = "stop"
        elif len(self.commits) == self._limit:
            self.finish_reason = "length"
        self.text += text
        return Piece(text, commit, token_text=added)

    def close(self) -> str:
        """Return the text that has been held back until now. Call this method once, after the last token."""
        self.unfinished = self._detokenizer.flush()
        text, stopped = self._stops.push(self.unfinished)
        if stopped:
            self.finish_reason = "stop"
        else:
            text += self._stops.flush()
        self.text += text
        return text
