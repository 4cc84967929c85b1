"""Completions through the official client: prompts of every kind, echo, log-probabilities."""

import math

import openai
import pytest

from tests.server.live import PROMPT
from unisono import SamplingParams

GREEDY = {"temperature": 0, "max_tokens": 6}


def own(server, prompt, model="pair", **params):
    return server.ensemble(model).generate(prompt, SamplingParams(**params))


def test_prompts_of_every_kind(server):
    """A text, texts, token ids, lists of token ids."""
    ids = server.ensemble().tokenizer.encode(PROMPT)
    (result,) = own(server, PROMPT, **GREEDY)
    for prompt, count in ((PROMPT, 1), ([PROMPT, PROMPT], 2), (ids, 1), ([ids, ids, ids], 3)):
        answer = server.client.completions.create(model="pair", prompt=prompt, **GREEDY)
        assert [choice.text for choice in answer.choices] == [result.text] * count
        assert [choice.index for choice in answer.choices] == list(range(count))
        assert answer.usage.prompt_tokens == count * len(ids)


def test_several_prompts_with_several_samples(server):
    prompts = [PROMPT, "for i in"]
    answer = server.client.completions.create(model="pair", prompt=prompts, n=2, seed=4, max_tokens=6)
    results = [result for prompt in prompts for result in own(server, prompt, n=2, seed=4, max_tokens=6)]
    assert [choice.text for choice in answer.choices] == [result.text for result in results]


@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_first(server, stream):
    (result,) = own(server, PROMPT, **GREEDY)
    answer = server.client.completions.create(model="pair", prompt=PROMPT, echo=True, stream=stream, **GREEDY)
    text = "".join(chunk.choices[0].text for chunk in answer) if stream else answer.choices[0].text
    assert text == PROMPT + result.text


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_echo_with_logprobs_scores_the_prompt(server, limit):
    """As `prompt_logprobs` of the library, with the most probable tokens; without generation too."""
    (result,) = own(server, PROMPT, temperature=0, max_tokens=max(limit, 1), prompt_logprobs=True, logprobs=True)
    answer = server.client.completions.create(
        model="pair", prompt=PROMPT, echo=True, logprobs=2, temperature=0, max_tokens=limit
    )
    logs = answer.choices[0].logprobs
    values = [*result.prompt_logprobs, *(result.logprobs if limit else [])]
    assert (logs.token_logprobs[0], logs.top_logprobs[0]) == (None, None)
    assert logs.token_logprobs[1:] == pytest.approx(values[1:], abs=1e-4)
    assert all(max(top.values()) >= value - 1e-6 for top, value in zip(logs.top_logprobs[1:], values[1:], strict=True))
    assert answer.usage.completion_tokens == limit
    assert len(logs.tokens) == len(logs.text_offset) == len(values)


def test_offsets_point_into_the_text(server):
    answer = server.client.completions.create(model="pair", prompt=PROMPT, echo=True, logprobs=0, seed=1, max_tokens=16)
    choice = answer.choices[0]
    assert choice.logprobs.text_offset == sorted(choice.logprobs.text_offset)
    for token, offset in zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True):
        assert 0 <= offset <= len(choice.text)
        if not token.startswith(("bytes:", "<")) and choice.text.isascii():
            assert choice.text[offset:].startswith(token)


def test_logprobs_in_a_stream_are_those_of_the_whole(server):
    options = {"model": "pair", "prompt": PROMPT, "echo": True, "logprobs": 2, "seed": 3, "max_tokens": 12}
    whole = server.client.completions.create(**options).choices[0].logprobs
    logs = [chunk.choices[0].logprobs for chunk in server.client.completions.create(**options, stream=True)]
    for field in ("tokens", "text_offset"):
        assert [each for part in logs if part for each in getattr(part, field)] == getattr(whole, field)


def test_stops_in_streams(server):
    text = own(server, PROMPT, seed=3, max_tokens=24)[0].text
    stop = text[5:7]
    options = {"model": "pair", "prompt": PROMPT, "seed": 3, "max_tokens": 24, "stop": stop}
    chunks = list(server.client.completions.create(**options, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == text[: text.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_probabilities_sum_to_at_most_one(server):
    answer = server.client.completions.create(model="contrast", prompt=PROMPT, logprobs=20, seed=1, max_tokens=4)
    for top in answer.choices[0].logprobs.top_logprobs:
        assert 0.5 < sum(math.exp(value) for value in top.values()) <= 1 + 1e-6


ERRORS = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [10**6]}, "prompt"),
    ({"prompt": ["a", 1]}, "prompt"),
    ({"prompt": ["x"] * 200}, "prompt"),
    ({"logprobs": 21}, "logprobs"),
    ({"suffix": "x"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"extra_body": {"min_tokens": 9}, "max_tokens": 3}, "min_tokens"),
    ({"extra_body": {"stop_token_ids": [10**6]}}, "stop_token_ids"),
    ({"extra_body": {"negative_prompt": "x"}}, "guidance_scale"),
]


@pytest.mark.parametrize(("options", "field"), ERRORS, ids=[str(options)[:60] for options, _ in ERRORS])
def test_errors_name_the_field(server, options, field):
    with pytest.raises(openai.BadRequestError) as caught:
        server.client.completions.create(**{"model": "pair", "prompt": PROMPT, **options})
    assert field in caught.value.message
    assert caught.value.type == "invalid_request_error"


def test_models_are_listed_and_retrieved(server):
    listed = server.client.models.list().data
    assert [model.id for model in listed] == ["pair", "contrast", "large", "small"]
    found = server.client.models.retrieve("contrast")
    assert found == listed[1]
    assert found.model_extra["combination"] == "contrastive:0.2"
    assert [member["name"] for member in found.model_extra["members"]] == ["large", "small"]
    with pytest.raises(openai.NotFoundError):
        server.client.models.retrieve("none")


def test_weights_are_shared(server):
    """Each member of each model is its own cache over one copy of the weights."""
    models = server.service.models.by_name
    larges = [models[name].ensemble.members[0] for name in ("pair", "contrast", "large")]
    assert len({id(member.model) for member in larges}) == 1
    assert len({id(member) for member in larges}) == 3


def test_tokens_there_and_back(server):
    with server.http as http:
        for text in ("def f(x):\n", "héllo 日本 🙂"):
            found = http.post("/tokenize", json={"model": "pair", "prompt": text, "return_token_strs": True}).json()
            assert found["tokens"] == server.ensemble().tokenizer.encode(text)
            assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
            assert found["max_model_len"] == 512
            back = http.post("/detokenize", json={"model": "pair", "tokens": found["tokens"]}).json()
            assert back == {"prompt": text}
        messages = [{"role": "user", "content": "hi"}]
        found = http.post("/tokenize", json={"model": "pair", "messages": messages}).json()
        assert found["tokens"] == server.ensemble().encode_chat(messages)
        for wrong in ({}, {"prompt": "x", "messages": messages}):
            assert http.post("/tokenize", json={"model": "pair", **wrong}).status_code == 400
        assert http.post("/detokenize", json={"model": "pair", "tokens": [10**6]}).status_code == 400


def test_health_ready_and_version(server):
    import unisono

    with server.http as http:
        assert http.get("/health").json() == {"status": "ok"}
        assert http.get("/ready").json() == {"status": "ready"}
        assert http.get("/version").json() == {"version": unisono.__version__}
        for path in ("/health", "/ready", "/version"):
            asked = http.head(path)
            assert (asked.status_code, asked.content) == (200, b"")
