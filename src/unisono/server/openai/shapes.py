"""OpenAI's shapes of choices, whole and in chunks, for chats and for completions."""

from collections.abc import Sequence
from typing import Any

from unisono.server.reasoning import Thoughts, silent_tags
from unisono.tokens.token_text import special_name, token_bytes, token_text
from unisono.types import Commit, Piece

Parts = Sequence[Piece]
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

    def says(self, choice: dict[str, Any]) -> bool:
        """Whether there is a text in a chunk's choice."""
        return any(choice["delta"].values())

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
        thoughts = self._thoughts.setdefault(index, Thoughts(self._inside, self._tags))
        thought, said = thoughts.read(parts, last)
        return {"content": said} | ({"reasoning_content": thought} if thought else {})

    def _logs(self, parts: Parts) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        content = [self._logged(piece.commit, piece.token_text) for piece in parts if piece.commit is not None]
        return {"content": content, "refusal": None}

    def _logged(self, commit: Commit, added: str) -> dict[str, Any]:
        """A token and its candidates; its own text is without the blank that decoding leaves out."""
        alone = token_text(self._tokenizer, commit.token)
        left = alone.removesuffix(added)
        blank = bool(added) and left != alone and not left.strip(" ")
        own = self._entry(commit.token, commit.logprob, len(left) if blank else 0)
        tops = [self._entry(token, value) for token, value in commit.top]
        same = {name: own[name] for name in ("token", "bytes")}
        tops = [top | same if token == commit.token else top for top, (token, _) in zip(tops, commit.top, strict=True)]
        return own | {"top_logprobs": tops}

    def _entry(self, token: int, logprob: float | None, left: int = 0) -> dict[str, Any]:
        text, raw = token_text(self._tokenizer, token), token_bytes(self._tokenizer, token)
        return {"token": text[left:], "logprob": _finite(logprob), "bytes": raw if raw is None else raw[left:]}


class CompletionShape:
    """`text_completion`, whole and in chunks.

    Args:
        logprobs: whether they were asked for.
    """

    prefix, kind, chunk_kind = "cmpl-", "text_completion", "text_completion"

    def __init__(self, tokenizer: Any, logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self._logprobs = logprobs
        self._written: dict[int, int] = {}  # characters per choice so far, stop strings included

    def opening(self, index: int) -> None:
        """A completion's stream begins with its text."""

    def delta(self, index: int, parts: Parts) -> dict[str, Any]:
        """The choice of a chunk."""
        return self._choice(index, _text(parts), self._logs(index, parts), None)

    def says(self, choice: dict[str, Any]) -> bool:
        """Whether there is a text in a chunk's choice."""
        return bool(choice["text"])

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
        for piece in parts:
            offset, commit = self._written.get(index, 0), piece.commit
            self._written[index] = offset + len(piece.token_text)
            if commit is None:  # the end, with a character that is not finished
                logs["tokens"][-1:] = [token + piece.token_text for token in logs["tokens"][-1:]]
                continue
            shown = piece.token_text or special_name(self._tokenizer, commit.token)
            logs["tokens"].append(shown)
            logs["token_logprobs"].append(None if commit.logprob is None else _finite(commit.logprob))
            logs["top_logprobs"].append(self._top(commit, shown))
            logs["text_offset"].append(offset)
        return logs

    def _top(self, commit: Commit, shown: str) -> dict[str, float] | None:
        """The candidates by text: the token itself as it is shown, and a text that is taken as `token_id:ID`."""
        if commit.logprob is None:
            return None
        found: dict[str, float] = {}
        for token, value in commit.top:
            text = token_text(self._tokenizer, token)
            if text == shown or text in found:
                text = f"token_id:{token}"
            found[shown if token == commit.token else text] = _finite(value)
        return found


Shape = ChatShape | CompletionShape


def _text(parts: Parts) -> str:
    return "".join(piece.text for piece in parts)


def _finite(value: float | None) -> float:
    return LEAST if value is None else max(value, LEAST)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
