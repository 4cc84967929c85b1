"""A model with a draft model is served as the model without it, whatever combines its members."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.live import PROMPT, Live, live
from tests.tiny import text_models, tokenizer
from unisono import Ensemble, SamplingParams
from unisono.config import Config
from unisono.members.source import Source
from unisono.server.catalog import Catalog

PAIRS = (
    "weighted:0.7,0.3",
    "product:0.7,0.3",
    "contrastive:0.2",
    "contrastive_masked:0.1,0.5",
    "realign:0.5",
    "cosd:0.5,0.5",
    "cascade:chow,0.3",
    "nudge:0.3",
    "gate:0.7,0.3",
    "only:1",
    "drawn:0.7,0.3",
)
SAME_PROMPT = (*PAIRS, "proxy:1")
ALL = (*SAME_PROMPT, "guidance:1.5")
TOKENS = 12
GREEDY = {"prompt": PROMPT, "temperature": 0, "max_tokens": TOKENS}


def sources(combination: str) -> list[Source]:
    """As many members as the combination takes, and behind them the draft model."""
    tokens, count = tokenizer(), 3 if combination.startswith("proxy") else 2
    models = text_models(count=4)
    members = [Source(model=models[index], tokenizer=tokens, name=f"member-{index}") for index in range(count)]
    return [*members, Source(model=models[3], tokenizer=tokens, name="draft")]


@pytest.fixture(scope="module")
def drafted() -> Iterator[Live]:
    """One model per combination, under its name."""
    models = {}
    for combination in ALL:
        *members, draft = sources(combination)
        models[combination] = Config(tuple(members), combination, "speculative:2", draft=draft)
    with live(Catalog(models), rows=4) as running:
        yield running


def undrafted(combination: str) -> Ensemble:
    return Ensemble.load(sources(combination)[:-1], combination, "standard")


@pytest.mark.parametrize("combination", ALL)
def test_its_text_and_log_probabilities_are_those_of_the_members_alone(drafted, combination):
    """In one piece and as a stream; the draft model has proposed."""
    params = SamplingParams(temperature=0, max_tokens=TOKENS, logprobs=True)
    (wanted,) = undrafted(combination).generate(PROMPT, params)
    options = {"model": combination, "logprobs": 2, "extra_body": {"spec_decode_metrics": "detailed"}, **GREEDY}
    answer = drafted.client.completions.create(**options)
    assert answer.choices[0].text == wanted.text
    assert answer.choices[0].logprobs.token_logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    assert answer.model_extra["metrics"]["speculative_decoding"]["num_spec_steps"] > 0
    chunks = [chunk.choices[0] for chunk in drafted.client.completions.create(**options, stream=True) if chunk.choices]
    assert "".join(chunk.text for chunk in chunks) == wanted.text
    found = [value for chunk in chunks if chunk.logprobs for value in chunk.logprobs.token_logprobs]
    assert found == pytest.approx(wanted.logprobs, abs=1e-4)


@pytest.mark.parametrize("combination", SAME_PROMPT)
def test_its_prompt_is_scored_by_the_members_alone(drafted, combination):
    """`echo` with log-probabilities, with a text behind the prompt and without."""
    params = SamplingParams(temperature=0, max_tokens=TOKENS, prompt_logprobs=True)
    (wanted,) = undrafted(combination).generate(PROMPT, params)
    values = [max(value or 0.0, -9999.0) for value in wanted.prompt_logprobs or ()][1:]  # JSON has no infinity
    for limit in (TOKENS, 0):
        options = {"model": combination, "echo": True, "logprobs": 1, **GREEDY, "max_tokens": limit}
        choice = drafted.client.completions.create(**options).choices[0]
        assert choice.text == (PROMPT + wanted.text if limit else PROMPT)
        assert choice.logprobs.token_logprobs[0] is None
        assert choice.logprobs.token_logprobs[1 : len(values) + 1] == pytest.approx(values, abs=1e-4)
        assert len(choice.logprobs.tokens) == 1 + len(values) + limit


@pytest.mark.parametrize("combination", ALL)
def test_chats_and_samples(drafted, combination):
    """With a seed, several texts at once, as the library gives them."""
    options: dict[str, Any] = {"temperature": 0.8, "seed": 4, "n": 2, "max_tokens": TOKENS}
    messages = [{"role": "user", "content": "what is f"}]
    answer = drafted.client.chat.completions.create(model=combination, messages=messages, **options)
    ensemble = drafted.ensemble(combination)
    wanted = ensemble.generate([ensemble.encode_chat(messages)], SamplingParams(**options))
    assert [choice.message.content for choice in answer.choices] == [result.text for result in wanted]


@pytest.mark.parametrize("combination", ALL)
def test_what_the_playground_shows_of_it(drafted, combination):
    """Per token, one column per member, the draft model's the last."""
    body = {"model": combination, "stream": True, "trace": {"candidates": 3}, **GREEDY}
    with drafted.http as http:
        events = http.post("/v1/completions", json=body)
    assert events.status_code == 200
    assert '"error"' not in events.text
    assert events.text.count('"candidates"') == TOKENS


def test_all_are_listed(drafted):
    """With the names of all members, the draft model's the last."""
    listed = drafted.client.models.list().data
    assert [model.id for model in listed] == list(ALL)
    for model in listed:
        count = 3 if model.id.startswith("proxy") else 2
        named = [member["name"] for member in model.model_extra["members"]]
        assert named == [*(f"member-{index}" for index in range(count)), "draft"]
        assert model.model_extra["combination"] == drafted.ensemble(model.id).combination().name
        assert model.model_extra["guidance"] is False


@pytest.mark.parametrize("schedule", ["auto", "standard", "parallel", "cos:2,1,3", "lookup:3"])
def test_a_request_may_choose_the_schedule(drafted, schedule):
    """The text stays; a schedule with a draft length per member has one for the draft model too."""
    (wanted,) = undrafted(PAIRS[0]).generate(PROMPT, SamplingParams(temperature=0, max_tokens=TOKENS))
    extra = {"collaboration": {"schedule": schedule, "weights": [0.7, 0.3]}}
    answer = drafted.client.completions.create(model=PAIRS[0], extra_body=extra, **GREEDY)
    assert answer.choices[0].text == wanted.text
