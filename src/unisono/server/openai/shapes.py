"""OpenAI's JSON for the choices of chats and completions, as whole choices and as chunks of streams."""

from collections.abc import Sequence
from typing import Any

from unisono.server.reasoning import Thoughts, silent_tags
from unisono.tokens.token_text import special_name, token_bytes, token_text
from unisono.types import Commit, Piece

Parts = Sequence[Piece]
LEAST = -9999.0  # replaces minus infinity, as in OpenAI's API, because JSON has no infinity


class ChatShape:
    """Makes the choices of `chat.completion` objects and of their chunks.

    Args:
        logprobs: whether the request asks for log-probabilities.
        inside: whether answers begin inside a thinking block. If None, thoughts stay in the content.
    """

    prefix, kind, chunk_kind = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def __init__(self, tokenizer: Any, logprobs: bool, inside: bool | None = None) -> None:
        self._tokenizer = tokenizer
        self._logprobs = logprobs
        self._inside = inside
        self._thoughts: dict[int, Thoughts] = {}  # per choice
        self._tags = {} if inside is None else silent_tags(tokenizer)

    def opening(self, index: int) -> dict[str, Any] | None:
        """Return the choice of the first chunk of a stream, which has the role but no text."""
        return _choice(index, delta={"role": "assistant", "content": ""})

    def delta(self, index: int, parts: Parts) -> dict[str, Any]:
        """Return one entry for the `choices` of a chunk. The entry contains the text of `parts`."""
        return _choice(index, self._logs(parts), delta=self._content(index, parts))

    def says(self, choice: dict[str, Any]) -> bool:
        """Return whether the choice of a chunk contains text."""
        return any(choice["delta"].values())

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        """Return the choice of the last chunk. The choice contains the finish reason and the rest of the text."""
        rest = {name: text for name, text in self._content(index, (), last=True).items() if text}
        return _choice(index, reason=reason, delta=rest)

    def whole(self, index: int, parts: Parts, reason: str) -> dict[str, Any]:
        """Return the choice of a response that is not a stream."""
        message = {"role": "assistant", **self._content(index, parts, last=True), "refusal": None}
        return _choice(index, self._logs(parts), reason, message=message)

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
        """Return the JSON for a token and its candidates.

        `added` is the text that the token added to the answer. If decoding removed a blank before `added`, the text of
        the token in the JSON begins without this blank.
        """
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
    """Makes the choices of `text_completion` objects.

    The chunks of a stream are `text_completion` objects too. Each method has the same purpose as the method of
    `ChatShape` with the same name.

    Args:
        logprobs: whether the request asks for log-probabilities.
    """

    prefix, kind, chunk_kind = "cmpl-", "text_completion", "text_completion"

    def __init__(self, tokenizer: Any, logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self._logprobs = logprobs
        self._written: dict[int, int] = {}  # number of characters of each choice so far, including stop strings

    def opening(self, index: int) -> None:
        """Return None, because a stream of completions has no chunk before its text."""

    def delta(self, index: int, parts: Parts) -> dict[str, Any]:
        return _choice(index, self._logs(index, parts), text=_text(parts))

    def says(self, choice: dict[str, Any]) -> bool:
        return bool(choice["text"])

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        return _choice(index, reason=reason, text="")

    def whole(self, index: int, parts: Parts, reason: str) -> dict[str, Any]:
        return _choice(index, self._logs(index, parts), reason, text=_text(parts))

    def _logs(self, index: int, parts: Parts) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        logs: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for piece in parts:
            offset, commit = self._written.get(index, 0), piece.commit
            self._written[index] = offset + len(piece.token_text)
            if commit is None:  # this piece is the end of the text, which may be an incomplete character
                logs["tokens"][-1:] = [token + piece.token_text for token in logs["tokens"][-1:]]
                continue
            shown = piece.token_text or special_name(self._tokenizer, commit.token)
            logs["tokens"].append(shown)
            logs["token_logprobs"].append(None if commit.logprob is None else _finite(commit.logprob))
            logs["top_logprobs"].append(self._top(commit, shown))
            logs["text_offset"].append(offset)
        return logs

    def _top(self, commit: Commit, shown: str) -> dict[str, float] | None:
        """Return a dict from the text of each candidate to its log-probability. The key of the chosen token is `shown`.

        If the text of a candidate is the key of another token, the candidate gets the key `token_id:ID` instead.
        """
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


def _choice(
    index: int, logs: dict[str, Any] | None = None, reason: str | None = None, **content: Any
) -> dict[str, Any]:
    return {"index": index, **content, "logprobs": logs, "finish_reason": reason}


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
