"""OpenAI's shapes of choices, whole and in chunks, for chats and for completions."""

from collections.abc import Sequence
from typing import Any

from unisono.server.reasoning import Thoughts, silent_tags
from unisono.tokens.token_text import token_bytes, token_text
from unisono.types import Commit

Parts = Sequence[tuple[str, Sequence[Commit]]]  # texts and the tokens that they came with
LEAST = -9999.0  # JSON has no minus infinity; OpenAI writes this number


class ChatShape:
    """`chat.completion` and its chunks.

    Args:
        logprobs: whether they were asked for.
        inside: whether answers begin in a block of thoughts; None: thoughts stay in the content.
    """

    prefix, kind, chunk_kind = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def __init__(self, tokenizer: Any, logprobs: bool, inside: bool | None = None) -> None:
        self._tokenizer = tokenizer
        self._logprobs = logprobs
        self._inside = inside
        self._thoughts: dict[int, Thoughts] = {}  # per choice
        self._tags = {} if inside is None else silent_tags(tokenizer)

    def opening(self, index: int) -> dict[str, Any] | None:
        """The choice of the first chunk, or None if there is nothing to say yet."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def delta(self, index: int, parts: Parts) -> dict[str, Any]:
        """The choice of a chunk."""
        return {
            "index": index,
            "delta": self._content(index, parts),
            "logprobs": self._logs(parts),
            "finish_reason": None,
        }

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        """The choice of the last chunk."""
        rest = {name: text for name, text in self._content(index, (), last=True).items() if text}
        return {"index": index, "delta": rest, "logprobs": None, "finish_reason": reason}

    def whole(self, index: int, parts: Parts, reason: str) -> dict[str, Any]:
        """A choice in one piece."""
        message = {"role": "assistant", **self._content(index, parts, last=True), "refusal": None}
        return {"index": index, "message": message, "logprobs": self._logs(parts), "finish_reason": reason}

    def _content(self, index: int, parts: Parts, last: bool = False) -> dict[str, str]:
        if self._inside is None:
            return {"content": _text(parts)}
        shown = [text + "".join(self._tags.get(each.token, "") for each in commits) for text, commits in parts]
        thoughts = self._thoughts.setdefault(index, Thoughts(self._inside))
        thought, said = thoughts.push("".join(shown), last)
        return {"content": said} | ({"reasoning_content": thought} if thought else {})

    def _logs(self, parts: Parts) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        content = [
            self._entry(commit.token, commit.logprob)
            | {"top_logprobs": [self._entry(token, value) for token, value in commit.top]}
            for _, commits in parts
            for commit in commits
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token: int, logprob: float | None) -> dict[str, Any]:
        text, raw = token_text(self._tokenizer, token), token_bytes(self._tokenizer, token)
        return {"token": text, "logprob": _finite(logprob), "bytes": raw}


class CompletionShape:
    """`text_completion`, whole and in chunks.

    Args:
        logprobs: whether they were asked for.
    """

    prefix, kind, chunk_kind = "cmpl-", "text_completion", "text_completion"

    def __init__(self, tokenizer: Any, logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self._logprobs = logprobs
        self._written: dict[int, int] = {}  # characters per choice so far, for `text_offset`

    def opening(self, index: int) -> None:
        """A completion's stream begins with its text."""

    def delta(self, index: int, parts: Parts) -> dict[str, Any]:
        """The choice of a chunk."""
        return self._choice(index, _text(parts), self._logs(index, parts), None)

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        """The choice of the last chunk."""
        return self._choice(index, "", None, reason)

    def whole(self, index: int, parts: Parts, reason: str) -> dict[str, Any]:
        """A choice in one piece."""
        return self._choice(index, _text(parts), self._logs(index, parts), reason)

    def _choice(self, index: int, text: str, logs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": logs, "finish_reason": reason}

    def _logs(self, index: int, parts: Parts) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        logs: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for text, commits in parts:
            offset = self._written.get(index, 0)
            self._written[index] = offset + len(text)
            for commit in commits:
                shown = token_text(self._tokenizer, commit.token)
                logs["tokens"].append(shown)
                logs["token_logprobs"].append(None if commit.logprob is None else _finite(commit.logprob))
                logs["top_logprobs"].append(self._top(commit))
                logs["text_offset"].append(min(offset, self._written[index]))
                offset += len(shown)
        return logs

    def _top(self, commit: Commit) -> dict[str, float] | None:
        if commit.logprob is None:
            return None
        found: dict[str, float] = {}
        for token, value in commit.top:
            found.setdefault(token_text(self._tokenizer, token), _finite(value))
        return found


Shape = ChatShape | CompletionShape


def _text(parts: Parts) -> str:
    return "".join(text for text, _ in parts)


def _finite(value: float | None) -> float:
    return LEAST if value is None else max(value, LEAST)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
