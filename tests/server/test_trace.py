"""The `unisono` field of the chunks: it agrees with the library, and asking for it changes nothing."""

import json
import threading
from unittest.mock import ANY

import pytest

from tests.server.live import PROMPT
from tests.tiny import fresh_logits
from unisono import SamplingParams
from unisono.combine import as_combination
from unisono.combine.positions import Positions
from unisono.sampling.warp import Warp


def traced(server, model="pair", **changes):
    body = {"model": model, "prompt": PROMPT, "seed": 3, "max_tokens": 24, "stream": True, "trace": {"candidates": 3}}
    with server.http as http:
        events = http.post("/v1/completions", json=body | changes).text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    return [chunk["unisono"] for chunk in chunks if "unisono" in chunk], chunks


@pytest.mark.parametrize(("model", "schedule"), [("pair", "cos:2,1"), ("contrast", "cos:1,2"), ("large", "lookup:3")])
def test_tokens_and_turns_are_the_librarys(server, model, schedule):
    """Under fixed schedules: what `auto` runs depends on times."""
    (own,) = server.ensemble(model).generate(PROMPT, SamplingParams(max_tokens=24, seed=3), schedule=schedule)
    seen, chunks = traced(server, model, collaboration={"schedule": schedule})
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
        positions = Positions.of([one.unsqueeze(0) for one in logits], Warp())
        combined, each = law.law(positions, Warp())[0], [Warp()(one) for one in logits]
        order = combined.argsort(descending=True)[:3].tolist()
        found = token["candidates"]
        assert [candidate["id"] for candidate in found][:3] == order
        assert token["id"] in [candidate["id"] for candidate in found]
        for candidate in found:
            assert candidate["combined"] == pytest.approx(float(combined[candidate["id"]]), abs=1e-4)
            for index in range(2):
                assert candidate["members"][index] == pytest.approx(float(each[index][candidate["id"]]), abs=1e-4)
        prefix.append(token["id"])


def test_a_member_that_did_not_run_there_said_nothing(server):
    """Under `only:0` the other member speaks where it proposes, and only there; the law is the first one's alone."""
    seen, _ = traced(server, collaboration={"combine": "only:0", "schedule": "speculative:2"})
    tokens = [token for each in seen for token in each["tokens"]]
    said = {token["candidates"][0]["members"][1] is not None for token in tokens}
    assert said == {True, False}
    for token in tokens:
        for candidate in token["candidates"]:
            assert candidate["combined"] == pytest.approx(candidate["members"][0], abs=1e-6)


@pytest.mark.parametrize(
    "combine", ["drawn:0.5,0.5", "cosd:0.5,0.5", "cascade:rule=chow,alpha=0.9", "weighted:0.6,0.4"]
)
@pytest.mark.parametrize("temperature", [0, 1])
def test_nobody_is_asked_only_because_somebody_looks(server, combine, temperature):
    """Lazy combinations stay lazy: the same forwards, and no number where nobody knows it."""
    asked = {"collaboration": {"combine": combine, "schedule": "cos:1,2"}, "temperature": temperature}
    params = SamplingParams(max_tokens=24, seed=3, temperature=temperature)
    (own,) = server.ensemble().generate(PROMPT, params, combine=combine, schedule="cos:1,2")
    seen, _ = traced(server, **asked)
    tokens = [token for each in seen for token in each["tokens"]]
    assert [token["id"] for token in tokens] == list(own.token_ids)
    assert [sum(each["turn"]["forwards"][m] for each in seen) for m in range(2)] == [
        member.forwards for member in own.stats.members
    ]
    for token in tokens:
        first = token["candidates"][0]
        assert any(share is not None for share in first["members"])
        if first["combined"] is None:
            assert None in first["members"] or combine.startswith("drawn")
        assert all((each["combined"] is None) == (first["combined"] is None) for each in token["candidates"])


def test_a_trace_beside_prompts_that_are_scored(server):
    """Whoever scores prompts with the same engine disturbs neither the text nor the trace of others."""
    alone, _ = traced(server, max_tokens=60, ignore_eos=True)
    body = {"model": "pair", "prompt": [PROMPT * 8] * 4, "echo": True, "logprobs": 1, "max_tokens": 0}
    over = threading.Event()

    def score() -> None:
        with server.http as http:
            while not over.is_set():
                assert http.post("/v1/completions", json=body).status_code == 200

    thread = threading.Thread(target=score)
    thread.start()
    try:
        beside = [traced(server, max_tokens=60, ignore_eos=True)[0] for _ in range(3)]
    finally:
        over.set()
        thread.join()
    for each in beside:
        assert [part["tokens"] for part in each] == [
            [{**token, "candidates": ANY} for token in part["tokens"]] for part in alone
        ]
    assert server.idle()
