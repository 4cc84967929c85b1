"""The metrics say what the answers say."""

from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.live import MESSAGES, PROMPT, live
from unisono import SamplingParams

COUNTED = ("prompt_tokens", "generation_tokens", "request_success", "spec_decode_num_drafts")


@pytest.fixture
def fresh():
    with live(rows=4) as own:
        yield own


def scraped(own) -> dict[tuple[str, ...], float]:
    with own.http as http:
        families = text_string_to_metric_families(http.get("/metrics").text)
    return {
        (sample.name.removeprefix("unisono_"), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_counters_are_the_sums_of_the_answers(fresh):
    """Over two models, whole answers and streams, ends by length and by stop."""
    sums: Counter[tuple[str, ...]] = Counter()
    for seed in range(6):
        model = "pair" if seed % 2 else "contrast"
        options = {"model": model, "messages": MESSAGES, "seed": seed, "max_tokens": 12, "stop": "e"}
        extra = {"spec_decode_metrics": "detailed"}
        if seed % 3:
            *_, last = fresh.client.chat.completions.create(
                **options, stream=True, stream_options={"include_usage": True}, extra_body=extra
            )
            answer = last
        else:
            answer = fresh.client.chat.completions.create(**options, extra_body=extra)
        metrics = answer.model_extra["metrics"]
        sums["prompt_tokens_total", model] += answer.usage.prompt_tokens
        sums["generation_tokens_total", model] += answer.usage.completion_tokens
        sums["spec_decode_num_drafts_total", model] += metrics["speculative_decoding"]["num_spec_steps"]
        for name, member in metrics["collaboration"]["members"].items():
            sums["spec_decode_num_draft_tokens_total", name, model] += member["proposed"]
            sums["spec_decode_num_accepted_tokens_total", name, model] += member["accepted"]
            sums["member_forward_passes_total", name, model] += member["forward_passes"]
            for position, count in enumerate(member["accepted_by_position"]):
                sums["spec_decode_num_accepted_tokens_per_pos_total", name, model, str(position)] += count
    found = scraped(fresh)
    assert {key: found[key] for key in sums} == pytest.approx(dict(sums))
    for model in ("pair", "contrast"):
        for member in ("large", "small"):
            positions = sum(
                value for key, value in found.items()
                if key[:3] == ("spec_decode_num_accepted_tokens_per_pos_total", member, model)
            )  # fmt: skip
            assert positions == sums["spec_decode_num_accepted_tokens_total", member, model]
        assert sum(value for key, value in found.items() if key[0] == "request_success_total" and key[2] == model) == 3
        assert found["time_to_first_token_seconds_count", model] == 3
        assert found["e2e_request_latency_seconds_count", model] == 3
        between = found["inter_token_latency_seconds_count", model]
        assert 0 < between < sums["generation_tokens_total", model]


def test_gauges_are_zero_at_rest_and_not_at_work(fresh):
    assert {scraped(fresh)[name, "pair"] for name in ("num_requests_running", "num_requests_waiting")} == {0}
    body = {"model": "pair", "prompt": PROMPT, "max_tokens": 400, "ignore_eos": True, "stream": True, "n": 6}
    with fresh.http as http, http.stream("POST", "/v1/completions", json=body) as answer:
        lines = answer.iter_lines()  # kept: a closed iterator would end the stream, and the stream its rows
        next(lines)
        while (found := scraped(fresh))["num_requests_running", "pair"] == 1:
            pass  # samples wait until the first has read the prompt
    assert found["num_requests_running", "pair"] == 4
    assert found["num_requests_waiting", "pair"] == 2
    assert 0 < found["kv_cache_usage_perc", "pair"] < 1
    assert fresh.idle()
    assert scraped(fresh)["request_success_total", "abort", "pair"] == 6


@pytest.mark.parametrize("detail", ["summary", "detailed"])
def test_a_request_reports_its_speculation(server, detail):
    """In vLLM's shape; what it says agrees with the library's statistics of the same request."""
    ensemble = server.ensemble()
    (own,) = ensemble.generate(ensemble.encode_chat(MESSAGES), SamplingParams(max_tokens=24, seed=3))
    answer = server.client.chat.completions.create(
        model="pair", messages=MESSAGES, seed=3, extra_body={"spec_decode_metrics": detail}
    )
    found = answer.model_extra["metrics"]["speculative_decoding"]
    steps, drafted, accepted = (
        found[name] for name in ("num_spec_steps", "num_draft_tokens", "num_accepted_draft_tokens")
    )
    assert accepted == own.stats.accepted
    assert own.stats.verified <= drafted <= sum(member.proposed for member in own.stats.members)
    assert found["mean_acceptance_length"] == pytest.approx(1 + accepted / steps)
    assert found["draft_acceptance_rate"] == pytest.approx(accepted / drafted)
    assert sum(found["acceptance_histogram"]) == steps
    assert sum(k * count for k, count in enumerate(found["acceptance_histogram"])) == accepted
    assert ("per_step_accepted" in found) == (detail == "detailed")
    if detail == "detailed":
        assert sum(found["per_step_accepted"]) == accepted
        assert sum(found["per_step_drafted"]) == drafted
        pairs = zip(found["per_step_accepted"], found["per_step_drafted"], strict=True)
        assert all(some <= most for some, most in pairs)


def test_several_choices_have_no_numbers_of_their_own(server):
    answer = server.client.chat.completions.create(
        model="pair", messages=MESSAGES, n=2, max_tokens=2, extra_body={"spec_decode_metrics": "summary"}
    )
    assert answer.model_extra["metrics"] == {"speculative_decoding": None, "collaboration": None}


def test_nothing_is_reported_unless_asked(server):
    answer = server.client.chat.completions.create(model="pair", messages=MESSAGES, max_tokens=2)
    assert "metrics" not in (answer.model_extra or {})
