"""`unisono generate`: print the text for one prompt while it is generated."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from unisono.cli import complain
from unisono.cli.loading import load_ensemble, read_config, sampling, templating
from unisono.cli.options.generate import GenerateOptions
from unisono.cli.render import summary
from unisono.ensemble import Ensemble
from unisono.errors import MemberError, RequestError, UnisonoError
from unisono.params import SamplingParams
from unisono.text.encoder import Chat
from unisono.text.trace import Trace
from unisono.tokens.token_text import special_name, token_text
from unisono.types import Piece, Result


def run(options: GenerateOptions) -> None:
    """Print the generated text. With --json, print an object that describes the text."""
    config = read_config(options.load.config)
    template = _template(options)
    text = _read_prompt(options.prompt, options.file)
    asked = sampling(config, options.sampling) | ({"logprobs": True} if options.logprobs else {})
    _require_sense(SamplingParams(**asked), options.as_json, options.trace)
    ensemble = load_ensemble(options.load, config)
    params = replace(ensemble.default_params, **asked)
    stream = ensemble.stream(Chat(_messages(text), **template) if options.chat else text, params)
    try:
        if options.as_json:
            _print_object(ensemble, text, stream)
        else:
            trace = Trace(ensemble.tokenizer, ensemble.lineup.labels) if options.trace else None
            _print(stream, trace, lambda result: summary(result, ensemble, params))
    except MemberError as error:  # the input is not wrong, so the exit code is 1 instead of 2
        complain(str(error))
        raise typer.Exit(1) from error


def _print(stream: Iterator[Piece], trace: Trace | None, told: Callable[[Result], str]) -> None:
    """Print the text while it is generated, and then the summary that `told` returns.

    The summary goes to standard error if standard output is not a terminal and there is no trace.
    """
    try:
        for piece in stream:
            if trace:
                trace.token(piece)
            else:
                print(piece.text, end="", flush=True)
            if piece.result:
                aside = trace is None and not sys.stdout.isatty()
                print("\n" + told(piece.result), file=sys.stderr if aside else sys.stdout)
    except (UnisonoError, KeyboardInterrupt):
        print(end="\n" * sys.stdout.isatty(), flush=True)  # the error message then begins on a new line
        raise


def _print_object(ensemble: Ensemble, prompt: str, stream: Iterator[Piece]) -> None:
    """Print a JSON object about the generated text.

    If decoding fails or Ctrl-C is pressed, the object contains the tokens so far and the error. In this case, raise the
    error again after the object has been printed.
    """
    pieces: list[Piece] = []
    try:
        pieces.extend(stream)
    except (UnisonoError, KeyboardInterrupt) as error:
        ended = {"finish_reason": None, "error": str(error) or "interrupted"}
        print(json.dumps(_about(ensemble, prompt, pieces) | ended, ensure_ascii=False), flush=True)
        raise
    result = pieces[-1].result
    assert result is not None
    about = _about(ensemble, prompt, pieces) | _of_result(ensemble, result)
    print(json.dumps(about, ensure_ascii=False))


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


def _template(options: GenerateOptions) -> dict[str, Any]:
    """Return the fields of `Chat` that the options set.

    Raise RequestError if the options set a field without --chat.
    """
    asked = templating(options.template)
    if options.continue_final_message:
        asked["continue_final_message"] = True
    if options.add_generation_prompt is not None:
        asked["add_generation_prompt"] = options.add_generation_prompt
    if asked and not options.chat:
        raise RequestError(f"--{next(iter(asked)).replace('_', '-')} needs --chat")
    return asked


def _messages(text: str) -> list[dict[str, str]]:
    """Return the messages of a JSON list. If the text is no JSON list, return the text as one message of the user."""
    try:
        messages: Any = json.loads(text)
    except json.JSONDecodeError as error:
        if re.match(r"\s*(\[\s*)?\{\s*\"", text):
            raise RequestError(f"the chat looks like JSON but is not: {error.msg} at character {error.pos}") from None
        return [{"role": "user", "content": text}] if text.strip() else []
    if isinstance(messages, dict):
        raise RequestError('a chat in JSON is a list of messages, as in [{"role": "user", "content": "..."}]')
    return messages if isinstance(messages, list) else [{"role": "user", "content": text}]


def _about(ensemble: Ensemble, prompt: str, pieces: Sequence[Piece]) -> dict[str, Any]:
    names, tokenizer = ensemble.names, ensemble.tokenizer
    tokens = [
        {
            "id": commit.token,
            "text": piece.token_text or special_name(tokenizer, commit.token),
            "origin": commit.origin,
            "member": None if commit.member is None else names[commit.member],
            "looked_up": commit.looked_up,
            "proposed": None
            if commit.proposed is None
            else {"id": commit.proposed, "text": token_text(tokenizer, commit.proposed)},
            "logprob": commit.logprob,
        }
        | ({"top_logprobs": dict(commit.top)} if commit.top else {})
        for piece in pieces
        if (commit := piece.commit) is not None
    ]
    text, ids = "".join(piece.text for piece in pieces), [each["id"] for each in tokens]
    return {"prompt": prompt, "text": text, "token_ids": ids, "tokens": tokens, "members": names}


def _of_result(ensemble: Ensemble, result: Result) -> dict[str, Any]:
    found, drafters = result.to_dict(), ensemble.names[len(ensemble.lineup.combined) :]
    names = ("combination", "schedule", "verification", "seed", "generation_config", "stats", "prompt_logprobs")
    told = names if result.prompt_logprobs else names[:-1]
    return {"finish_reason": result.finish_reason, "drafters": drafters, **{name: found[name] for name in told}}
