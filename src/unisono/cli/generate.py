"""`unisono generate`: one prompt in, streamed text out."""

import json
import re
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer

from unisono.cli.options import (
    Combine,
    Compile,
    ConfigFile,
    Deterministic,
    Device,
    Draft,
    Dtype,
    Members,
    ScheduleName,
    VerificationName,
    load_ensemble,
    read_config,
    sampling,
)
from unisono.cli.render import summary
from unisono.ensemble import Ensemble
from unisono.errors import RequestError
from unisono.params import SamplingParams
from unisono.text.trace import Trace
from unisono.types import Piece, Result


def generate(
    prompt: Annotated[str | None, typer.Argument(help="The prompt; without it, standard input is read.")] = None,
    member: Members = [],  # noqa: B006 - typer reads the default, nobody changes it
    combine: Combine = None,
    schedule: ScheduleName = None,
    verification: VerificationName = None,
    draft: Draft = None,
    dtype: Dtype = None,
    device: Device = None,
    compile: Compile = None,
    deterministic: Deterministic = None,
    config: ConfigFile = None,
    file: Annotated[Path | None, typer.Option(help="Read the prompt from this file.")] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a user's message, or a JSON list of messages.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(help=f"The most tokens to generate; default {SamplingParams.max_tokens}.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help=f"0 takes the most probable token; default {SamplingParams.temperature}.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k most probable tokens; 0 is off.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the tokens that hold this mass; 1 is off.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Keep tokens of this share of the largest probability.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Of tokens of prompt and output; 1 is off.")] = None,
    presence_penalty: Annotated[float | None, typer.Option(help="Of tokens of the output; 0 is off.")] = None,
    frequency_penalty: Annotated[float | None, typer.Option(help="The same, per occurrence; 0 is off.")] = None,
    min_tokens: Annotated[int | None, typer.Option(help="No end before so many tokens.")] = None,
    bad_word: Annotated[list[str] | None, typer.Option(help="A text that must not occur; repeat it.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop at this text; repeat it.")] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on behind the end of the text.")] = False,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.")] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="With guidance: what the second member reads instead of the prompt.")
    ] = None,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="With --json: log-probability of each token.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Colour tokens by the member that proposed them.")] = False,
) -> None:
    """Generate text with several models at once."""
    settings = read_config(config)
    text = _read_prompt(prompt, file)
    given = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty, "min_tokens": min_tokens, "bad_words": bad_word or None,
        "stop": stop or None, "seed": seed, "ignore_eos": ignore_eos or None, "logprobs": logprobs or None,
        "negative_prompt": negative_prompt,
    }  # fmt: skip
    params = sampling(settings, **given)
    _require_sense(params, as_json, trace)
    sources = {"dtype": dtype, "device": device, "compile": compile, "deterministic": deterministic}
    ensemble = load_ensemble(settings, member, combine, schedule, verification, draft, **sources)
    stream = ensemble.stream(ensemble.encode_chat(_messages(text)) if chat else text, params)
    if as_json:
        *_, last = stream
        assert last.result is not None
        print(json.dumps(_as_object(ensemble, text, last.result), ensure_ascii=False))
    else:
        _print(stream, Trace(ensemble.tokenizer, ensemble.names) if trace else None)


def _print(stream: Iterator[Piece], trace: Trace | None) -> None:
    """Stream the text, coloured or plain, and a line about it; piped text stays clean of that line."""
    for piece in stream:
        if trace and piece.commit:
            trace.token(piece.commit)
        elif not trace:
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


def _as_object(ensemble: Ensemble, prompt: str, result: Result) -> dict[str, Any]:
    names = ensemble.names
    tokens = [
        {
            "id": commit.token,
            "text": ensemble.tokenizer.decode([commit.token]) if ensemble.tokenizer else "",
            "origin": commit.origin,
            "member": None if commit.member is None else names[commit.member],
            "logprob": commit.logprob,
        }
        | ({"top_logprobs": dict(commit.top)} if commit.top else {})
        for commit in result.commits
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
