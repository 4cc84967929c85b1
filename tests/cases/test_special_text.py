"""Special tokens as part of the text, where that is asked for."""

import functools
from typing import Any

import pytest

from tests import tiny
from tests.cases import tokenizers
from tests.server.live import live
from unisono import Ensemble, SamplingParams
from unisono.cli.loading import sampling
from unisono.cli.options.sampling import SamplingOptions
from unisono.config import Config
from unisono.members.source import Source
from unisono.server.catalog import Catalog
from unisono.text.transcript import Transcript
from unisono.types import Commit

TOKENIZER = tokenizers.llama_2()
END, EOS = (TOKENIZER.convert_tokens_to_ids(name) for name in ("<|im_end|>", "</s>"))
PIECES = [TOKENIZER.convert_tokens_to_ids(piece) for piece in ("▁the", "fo", "x", "<|im_end|>", "▁the", "</s>")]


def text_of(ends: frozenset[int] = frozenset(), **params: Any) -> tuple[str, int]:
    """The text of `PIECES` behind a word, and how many tokens were taken until it ended."""
    chosen = SamplingParams(**{"max_tokens": len(PIECES), "skip_special_tokens": False, **params})
    transcript = Transcript(TOKENIZER, [PIECES[1]], chosen, ends, len(PIECES))
    text = ""
    for token in PIECES:
        text += transcript.push(Commit(token, "drawn")).text
        if transcript.finish_reason:
            break
    text += transcript.close()
    assert text == transcript.text
    return text, len(transcript.commits)


def test_special_tokens_stand_in_the_text():
    assert text_of() == (" thefox<|im_end|> the</s>", 6)
    assert text_of(skip_special_tokens=True) == (" thefox the", 6)


def test_the_token_that_ends_the_text_is_included_like_a_stop_string():
    ends = frozenset([EOS])
    assert text_of(ends) == (" thefox<|im_end|> the", 6)
    assert text_of(ends, include_stop=True) == (" thefox<|im_end|> the</s>", 6)
    assert text_of(frozenset([PIECES[2]]), include_stop=True) == (" thefo", 3)
    assert text_of(frozenset([EOS]), include_stop=True, skip_special_tokens=True) == (" thefox the", 6)


@pytest.mark.parametrize(
    ("stop", "text", "included"),
    [
        ("<|im_end|>", " thefox", " thefox<|im_end|>"),
        ("x<|im_end|> t", " thefo", " thefox<|im_end|> t"),
        ("end", " thefox<|im_", " thefox<|im_end"),
    ],
)
def test_stop_strings_see_what_is_written(stop: str, text: str, included: str):
    assert text_of(stop=stop)[0] == text
    assert text_of(stop=stop, include_stop=True)[0] == included


def test_a_stop_string_may_end_with_the_end():
    assert text_of(frozenset([EOS]), stop="the</s>")[0] == " thefox<|im_end|> "


def members() -> tuple[Any, ...]:
    return tiny.models("llama", vocab_size=len(TOKENIZER))


@functools.cache
def ensemble() -> Ensemble:
    return tiny.ensemble(members(), TOKENIZER)


BIAS = {END: 12.0}


@pytest.mark.parametrize("schedule", ["standard", "cos:3,2"])
def test_the_text_is_what_the_tokenizer_decodes(schedule: str):
    params = SamplingParams(max_tokens=12, seed=3, logit_bias=BIAS, skip_special_tokens=False)
    pieces = list(ensemble().stream("the fox", params, schedule=schedule))
    result = pieces[-1].result
    assert result is not None
    assert END in result.token_ids
    assert result.text == "".join(piece.text for piece in pieces) == "".join(piece.token_text for piece in pieces)
    prompt = TOKENIZER.encode("the fox")
    whole = TOKENIZER.decode([*prompt, *result.token_ids], skip_special_tokens=False)
    assert whole == TOKENIZER.decode(prompt, skip_special_tokens=False) + result.text


@pytest.fixture(scope="module")
def server():
    sources = tuple(Source(model=model, tokenizer=TOKENIZER) for model in members())
    with live(Catalog({"pair": Config(sources, "weighted", "cos:2,1", sampling={"max_tokens": 8})})) as up:
        yield up


@pytest.mark.parametrize("stream", [False, True])
def test_the_server_writes_them_at_their_offsets(server, stream: bool):
    options = {"prompt": "the fox", "max_tokens": 12, "seed": 3, "logit_bias": {str(END): 12.0}, "logprobs": 0}
    body = {"skip_special_tokens": False}
    answer = server.client.completions.create(model="pair", stream=stream, extra_body=body, **options)
    choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
    text = "".join(choice.text for choice in choices)
    logs = [choice.logprobs for choice in choices if choice.logprobs]
    tokens, offsets = ([each for log in logs for each in getattr(log, name)] for name in ("tokens", "text_offset"))
    assert "<|im_end|>" in tokens
    assert text == "".join(tokens)
    assert all(text.startswith(token, offset) for token, offset in zip(tokens, offsets, strict=True))


def test_a_request_goes_before_the_configuration():
    source = Source(model=members()[0], tokenizer=TOKENIZER)
    configured = Config((source,), sampling={"skip_special_tokens": False, "max_tokens": 12})
    options: dict[str, Any] = {"model": "one", "prompt": "the fox", "seed": 3, "logit_bias": {str(END): 12.0}}
    with live(Catalog({"one": configured})) as up:
        texts = [
            up.client.completions.create(extra_body={"skip_special_tokens": skip}, **options).choices[0].text
            for skip in (True, False, None)
        ]
    assert ["<|im_end|>" in text for text in texts] == [False, True, True]


def test_the_command_line_says_the_same():
    left, kept = ({"skip_special_tokens": skip} for skip in (True, False))
    assert sampling(Config(sampling=left), SamplingOptions()) == left
    assert sampling(Config(sampling=left), SamplingOptions(keep_special_tokens=True)) == kept
    assert sampling(Config(sampling=kept), SamplingOptions()) == kept
