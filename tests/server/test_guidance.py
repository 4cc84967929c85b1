"""`guidance_scale`: classifier-free guidance of one model beside itself, over shared weights."""

import openai
import pytest

from tests.server.live import MESSAGES, PROMPT
from unisono import Ensemble, SamplingParams
from unisono.combine.parse import FORMS
from unisono.members.hf.load import model_of

pytestmark = pytest.mark.skipif("guidance" not in FORMS, reason="this version has no combination `guidance`")
NEGATIVE = [{"role": "user", "content": "what is g"}]


def guided(server, prompt, negative, scale, params) -> str:
    """The library's own text, of an ensemble made for it."""
    member = model_of(server.ensemble("large").members[0])
    pair = Ensemble.load([member, member], combine=f"guidance:{scale}")
    prepared = pair.prompts.prepare(prompt, params, pair.combination(), negative)
    tokens = server.ensemble("large").tokenizer
    request = pair.start(prepared, params)[0]
    return str(tokens.decode(request.run(pair.engine).token_ids, skip_special_tokens=True))


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_chats_are_guided_away_from_negative_messages(server, scale):
    encode = server.ensemble("large").encode_chat
    params = SamplingParams(max_tokens=12, temperature=0)
    extra = {"guidance_scale": scale, "negative_messages": NEGATIVE}
    answer = server.client.chat.completions.create(
        model="large", messages=MESSAGES, max_tokens=12, temperature=0, extra_body=extra
    )
    own = guided(server, encode(MESSAGES), encode(NEGATIVE), scale, params)
    assert answer.choices[0].message.content == own
    plain = server.client.chat.completions.create(model="large", messages=MESSAGES, max_tokens=12, temperature=0)
    assert (plain.choices[0].message.content == own) == (scale == 1.0)


def test_without_a_negative_prompt_it_is_the_last_token(server):
    ids = server.ensemble("large").tokenizer.encode(PROMPT)
    params = SamplingParams(max_tokens=12, temperature=0)
    answer = server.client.completions.create(
        model="large", prompt=PROMPT, max_tokens=12, temperature=0, extra_body={"guidance_scale": 1.5}
    )
    assert answer.choices[0].text == guided(server, ids, ids[-1:], 1.5, params)


def test_a_model_of_several_members_cannot_be_guided(server):
    with pytest.raises(openai.BadRequestError, match="has 2 members"):
        server.client.completions.create(model="pair", prompt=PROMPT, extra_body={"guidance_scale": 1.5})


def test_guidance_is_a_combination_itself(server):
    with pytest.raises(openai.BadRequestError, match="leave out"):
        server.client.completions.create(
            model="large", prompt=PROMPT, extra_body={"guidance_scale": 1.5, "collaboration": {"combine": "only:0"}}
        )
