"""The `unisono` field of the chunks: it agrees with the library, and asking for it changes nothing."""

import json

import pytest

from tests.server.live import PROMPT
from tests.tiny import fresh_logits
from unisono import SamplingParams
from unisono.combine import as_combination
from unisono.warp import Warp


def traced(server, model="pair", **changes):
    body = {"model": model, "prompt": PROMPT, "seed": 3, "max_tokens": 24, "stream": True, "trace": {"candidates": 3}}
    with server.http as http:
        events = http.post("/v1/completions", json=body | changes).text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    return [chunk["unisono"] for chunk in chunks if "unisono" in chunk], chunks


@pytest.mark.parametrize("model", ["pair", "contrast", "large"])
def test_tokens_and_turns_are_the_librarys(server, model):
    (own,) = server.ensemble(model).generate(PROMPT, SamplingParams(max_tokens=24, seed=3))
    seen, chunks = traced(server, model)
    tokens = [token for each in seen for token in each["tokens"]]
    assert [(token["id"], token["origin"], token["member"]) for token in tokens] == [
        (commit.token, commit.origin, commit.member) for commit in own.commits
    ]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == own.text
    for index, member in enumerate(own.stats.members):
        assert sum(each["turn"]["forwards"][index] for each in seen) == member.forwards
        assert sum(each["turn"]["proposed"][index] for each in seen) == member.proposed
    assert sum(each["turn"]["accepted"] for each in seen) == own.stats.accepted
    times = [(each["turn"]["start_ms"], each["turn"]["end_ms"]) for each in seen]
    assert times == sorted(times)
    assert all(0 <= start < end for start, end in times)


@pytest.mark.parametrize("combination", ["weighted:0.7,0.3", "contrastive:0.2", "product:1,0.5"])
def test_candidates_are_the_members_laws(server, combination):
    """Against plain forwards of each model over the whole text so far."""
    ensemble = server.ensemble()
    prefix = ensemble.tokenizer.encode(PROMPT)
    law = as_combination(combination, 2)
    seen, _ = traced(server, collaboration={"combine": combination}, max_tokens=10)
    for token in [token for each in seen for token in each["tokens"]]:
        logits = [fresh_logits(member.model, prefix)[-1] for member in ensemble.members]
        combined, each = law([one.clone() for one in logits], Warp()), [Warp()(one) for one in logits]
        order = combined.argsort(descending=True)[:3].tolist()
        found = token["candidates"]
        assert [candidate["id"] for candidate in found][:3] == order
        assert token["id"] in [candidate["id"] for candidate in found]
        for candidate in found:
            assert candidate["combined"] == pytest.approx(float(combined[candidate["id"]]), abs=1e-4)
            for index in range(2):
                assert candidate["members"][index] == pytest.approx(float(each[index][candidate["id"]]), abs=1e-4)
        prefix.append(token["id"])


def test_a_member_that_was_not_asked_said_nothing(server):
    """Under `only:0` the other member only proposes; its opinion is not part of the law."""
    seen, _ = traced(server, collaboration={"combine": "only:0", "schedule": "speculative:2"})
    shown = [candidate["members"] for each in seen for token in each["tokens"] for candidate in token["candidates"]]
    assert shown
    assert all(large is not None and small is None for large, small in shown)
