"""Compiled members behind the server: requests that leave a member unused harm no later one."""

from collections.abc import Iterator

import pytest

from tests import tiny
from tests.hf import hf_members
from tests.server.live import PROMPT, Live, live
from unisono import SamplingParams
from unisono.config import Config
from unisono.members.backends import as_source
from unisono.server.catalog import Catalog

LAWS = ("only:0", "drawn:0.5,0.5")


@pytest.fixture(scope="module")
def compiled() -> Iterator[Live]:
    """One pair of members of one layer each, compiled, under several laws."""
    models = tiny.models("llama", num_hidden_layers=1, vocab_size=tiny.TEXT_VOCABULARY)
    tokens = tiny.tokenizer()
    members = tuple(as_source({"model": model, "tokenizer": tokens, "compile": "on"}) for model in models)
    with live(Catalog({law: Config(members, law) for law in LAWS})) as running:
        assert all(member.compiled for member in hf_members(running.ensemble(LAWS[0])))
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_short_requests(compiled: Live, law: str):
    """50 requests of 1 to 3 tokens, all schedules in turns: each gets its text, which is that of the library."""
    ensemble = compiled.ensemble(law)
    for index in range(50):
        schedule, limit = tiny.SCHEDULES[index % len(tiny.SCHEDULES)], 1 + index % 3
        answer = compiled.client.completions.create(
            model=law,
            prompt=PROMPT,
            max_tokens=limit,
            seed=index,
            extra_body={"ignore_eos": True, "collaboration": {"schedule": schedule}},
        )
        params = SamplingParams(max_tokens=limit, seed=index, ignore_eos=True)
        assert answer.choices[0].text == ensemble.generate(PROMPT, params, schedule=schedule)[0].text
