"""`unisono generate`: one prompt in, streamed text out."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from unisono.cli.loading import load_ensemble, read_config, sampling
from unisono.cli.options.generate import GenerateOptions
from unisono.cli.render import summary
from unisono.ensemble import Ensemble
from unisono.errors import RequestError
from unisono.params import SamplingParams
from unisono.text.trace import Trace
from unisono.tokens.token_text import special_name
from unisono.types import Piece


def run(options: GenerateOptions) -> None:
    """Print the text, or an object that tells all about it."""
    config = read_config(options.load.config)
    text = _read_prompt(options.prompt, options.file)
    params = sampling(config, options.sampling)
    if options.logprobs:
        params = replace(params, logprobs=True)
    _require_sense(params, options.as_json, options.trace)
    ensemble = load_ensemble(options.load, config)
    stream = ensemble.stream(ensemble.encode_chat(_messages(text)) if options.chat else text, params)
    if options.as_json:
        print(json.dumps(_as_object(ensemble, text, list(stream)), ensure_ascii=False))
    else:
        _print(stream, Trace(ensemble.names) if options.trace else None)


def _print(stream: Iterator[Piece], trace: Trace | None) -> None:
    """Stream the text, coloured or plain, and a line about it; piped text stays clean of that line."""
    for piece in stream:
        if trace:
            trace.token(piece)
        else:
            print(piece.text, end="", flush=True)
        if piece.result:
            aside = trace is None and not sys.stdout.isatty()
            print("\n" + summary(piece.result), file=sys.stderr if aside else sys.stdout)


def _read_prompt(prompt: str | None, file: Path | None) -> str:
    if prompt is not None and file is not None:
        raise RequestError("give the prompt as an argument or with --file, not both")
    if prompt is not None and prompt != "-":
        return prompt
    if file is None:
        if prompt is None and sys.stdin.isatty():
            raise RequestError('there is no prompt; give one, as in: unisono generate "def read_csv(path):"')
        return _decoded(sys.stdin.buffer.read(), "standard input")
    try:
        return _decoded(file.read_bytes(), str(file))
    except OSError as error:
        raise RequestError(f"prompt file cannot be read: {file} ({error.strerror})") from error


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"the prompt is not UTF-8 text: {where} ({error.reason} at byte {error.start})") from error


def _require_sense(params: SamplingParams, as_json: bool, trace: bool) -> None:
    if as_json and trace:
        raise RequestError("--json and --trace exclude each other; the JSON object has each token's origin")
    if (params.logprobs or params.prompt_logprobs) and not as_json:
        raise RequestError("log-probabilities need --json, where they are printed")


def _messages(text: str) -> list[dict[str, str]]:
    """A JSON list of messages, or the text as one user's message."""
    try:
        messages: Any = json.loads(text)
    except json.JSONDecodeError as error:
        if re.match(r"\s*(\[\s*)?\{\s*\"", text):
            raise RequestError(f"the chat looks like JSON but is not: {error.msg} at character {error.pos}") from None
        return [{"role": "user", "content": text}] if text.strip() else []
    if isinstance(messages, dict):
        raise RequestError('a chat in JSON is a list of messages, as in [{"role": "user", "content": "..."}]')
    return messages if isinstance(messages, list) else [{"role": "user", "content": text}]


def _as_object(ensemble: Ensemble, prompt: str, pieces: Sequence[Piece]) -> dict[str, Any]:
    names, result = ensemble.names, pieces[-1].result
    assert result is not None
    tokens = [
        {
            "id": commit.token,
            "text": piece.token_text or special_name(ensemble.tokenizer, commit.token),
            "origin": commit.origin,
            "member": None if commit.member is None else names[commit.member],
            "logprob": commit.logprob,
        }
        | ({"top_logprobs": dict(commit.top)} if commit.top else {})
        for piece in pieces
        if (commit := piece.commit) is not None
    ]
    # JSON has no minus infinity, the log-probability of a token that a combination rules out
    prompt_logprobs = [None if value in (None, -inf) else value for value in result.prompt_logprobs or ()]
    return {
        "prompt": prompt,
        "text": result.text,
        "token_ids": list(result.token_ids),
        "finish_reason": result.finish_reason,
        "tokens": tokens,
        "members": names,
        "combination": result.combination,
        "schedule": result.schedule,
        "verification": result.verification,
        "seed": result.seed,
        "stats": result.stats.as_dict(),
    } | ({"prompt_logprobs": prompt_logprobs} if result.prompt_logprobs else {})
