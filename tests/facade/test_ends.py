"""Where a text ends: exactly where decoding one token at a time would end it, inside an accepted block too.

The reference is a loop over plain forwards of the models, one token at a time, which looks at the whole text each time.
"""

import dataclasses
import functools
from typing import Any

import pytest
from transformers import GenerationConfig

from tests import tiny
from tests.hf import models
from unisono import Ensemble, SamplingParams
from unisono.errors import RequestError
from unisono.types import Result

PROMPT = "for i in"
SCHEDULES = ("standard", *tiny.SPECULATIVE)
COUNT = 14  # more than the longest block of any schedule
LONGEST = 40
BROKEN = "\ufffd"


def greedy(**changes: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": LONGEST, "temperature": 0, **changes})


@functools.cache
def reference_tokens() -> tuple[int, ...]:
    """What the two models write together at temperature 0, by plain forwards over the whole text so far."""
    ensemble = tiny.text_ensemble()
    return tuple(tiny.reference_greedy(models(ensemble), ensemble.tokenizer.encode(PROMPT), LONGEST))


def decode(tokens: tuple[int, ...]) -> str:
    text: str = tiny.text_ensemble().tokenizer.decode(tokens, skip_special_tokens=True)
    return text


def reference(params: SamplingParams) -> tuple[tuple[int, ...], str, str]:
    """Token ids, text and finish reason: after each token, look whether the text is over."""
    whole = reference_tokens()
    for count in range(1, len(whole) + 1):
        tokens = whole[:count]
        if tokens[-1] in params.stop_token_ids:
            return tokens, decode(tokens[:-1]), "stop"
        text = decode(tokens)
        shown = text if count == params.max_tokens else text.rstrip(BROKEN)  # the rest of a character may follow
        cuts = [at for stop in params.stop if (at := shown.find(stop)) >= 0]
        if cuts:
            return tokens, text[: min(cuts)], "stop"
        if count == params.max_tokens:
            return tokens, text, "length"
    raise AssertionError("the reference is too short")


def assert_counters_reconcile(result: Result) -> None:
    """Every token is accounted for once, in total and per member (R29)."""
    stats, commits = result.stats, result.commits
    origins = [commit.origin for commit in commits]
    assert [commit.token for commit in commits] == list(result.token_ids)
    assert stats.tokens == len(result.token_ids)
    assert stats.accepted == origins.count("accepted") == sum(each.accepted for each in (*stats.members, stats.lookup))
    assert stats.verified == origins.count("accepted") + origins.count("redrawn")
    assert stats.tokens == stats.accepted + origins.count("redrawn") + origins.count("drawn")
    for index, member in enumerate(stats.members):
        own = [commit.origin for commit in commits if commit.member == index]
        assert member.accepted == own.count("accepted")
        assert len(own) <= member.proposed
    assert all((commit.member is None) == (commit.origin == "drawn") for commit in commits)
    assert stats.rounds >= 1
    assert sum(member.forwards for member in stats.members) >= 1


def assert_as_reference(result: Result, params: SamplingParams) -> None:
    assert (result.token_ids, result.text, result.finish_reason) == reference(params)
    assert_counters_reconcile(result)


def run(schedule: str, params: SamplingParams, ensemble: Ensemble | None = None) -> Result:
    (result,) = (ensemble or tiny.text_ensemble()).generate([PROMPT], params, schedule=schedule)
    return result


def assert_all_schedules_as_reference(params: SamplingParams) -> list[Result]:
    results = [run(schedule, params) for schedule in SCHEDULES]
    for result in results:
        assert_as_reference(result, params)
    return results


def first_occurrences() -> list[int]:
    """Indices of tokens that did not occur before: a stop token can be made to fall exactly there."""
    tokens = reference_tokens()
    return [index for index, token in enumerate(tokens[:COUNT]) if token not in tokens[:index]]


def test_the_reference_is_worth_comparing_with():
    """The text is varied, and most of its first tokens can be made ends."""
    assert len(set(reference_tokens())) >= 10
    assert len(first_occurrences()) >= 8


def test_a_stop_token_at_every_offset():
    """Wherever an end falls in a block, it is the last token, its text is not shown, and nothing follows it (R6)."""
    ends = set()
    for index in first_occurrences():
        results = assert_all_schedules_as_reference(greedy(stop_token_ids=[reference_tokens()[index]]))
        assert {len(result.token_ids) for result in results} == {index + 1}
        ends |= {result.commits[-1].origin for result in results}
    assert ends == {"accepted", "redrawn", "drawn"}


def test_an_end_of_text_token_at_every_offset():
    """The ids of the members' generation configs end a text in the same way; `ignore_eos` lets it go on."""
    first, second = (tiny.blend(model, 0, seed=0) for model in tiny.text_models())
    for index in first_occurrences()[:8]:
        end = reference_tokens()[index]
        first.generation_config = GenerationConfig(eos_token_id=None)
        second.generation_config = GenerationConfig(eos_token_id=[end, 1])
        ensemble = tiny.ensemble([first, second], tiny.tokenizer())
        for schedule in SCHEDULES:
            result = run(schedule, greedy(), ensemble)
            assert_as_reference(result, greedy(stop_token_ids=[end]))
            assert result.finish_reason == "stop"
    ignoring = run("cos:2,3", greedy(ignore_eos=True), ensemble)
    assert ignoring.token_ids == reference_tokens()
    assert ignoring.finish_reason == "length"
    both = run("cos:2,3", greedy(ignore_eos=True, stop_token_ids=[reference_tokens()[0]]), ensemble)
    assert len(both.token_ids) == 1


@pytest.mark.parametrize("count", range(1, COUNT))
def test_every_number_of_tokens(count: int):
    """`max_tokens` cuts inside any block."""
    params = greedy(max_tokens=count)
    for result in assert_all_schedules_as_reference(params):
        assert result.finish_reason == "length"
        assert len(result.token_ids) == count


def test_stop_strings_across_token_borders():
    """A stop string is found wherever it lies over the tokens; it and all behind it is not in the text (R8).

    Ids, commits, counters and the reason agree with the text: they end with the token that completes it.
    """
    text = decode(reference_tokens())
    borders = {len(decode(reference_tokens()[:count])) for count in range(1, COUNT)}
    crossing = 0
    for start in range(16):
        for size in (1, 2, 3, 5):
            stop = text[start : start + size]
            if BROKEN in text[: start + size] or not stop:
                continue
            params = greedy(stop=stop)
            result = run("cos:2,3", params)
            assert_as_reference(result, params)
            assert stop not in result.text
            assert result.finish_reason == "stop"
            crossing += any(start < border < start + size for border in borders)
    assert crossing >= 5


@pytest.mark.parametrize("start", [0, 3, 7])
def test_stop_strings_under_all_schedules(start: int):
    """The schedule does not matter; of several stop strings the one that is complete first counts."""
    text = decode(reference_tokens())
    assert BROKEN not in text[: start + 8]
    assert_all_schedules_as_reference(greedy(stop=[text[start + 4 : start + 8], text[start : start + 3], "nowhere"]))


def test_an_end_counts_before_the_limit():
    """An end that is the very last token allowed is a stop, not a cut; one behind the limit is not seen (R7)."""
    text = decode(reference_tokens())
    for index in first_occurrences()[1::3]:
        for count, reason in ((index, "length"), (index + 1, "stop"), (index + 2, "stop")):
            params = greedy(max_tokens=count, stop_token_ids=[reference_tokens()[index]])
            assert {result.finish_reason for result in assert_all_schedules_as_reference(params)} == {reason}
    stop = text[2:5]
    needed = next(count for count in range(1, COUNT) if stop in decode(reference_tokens()[:count]))
    for count, reason in ((needed - 1, "length"), (needed, "stop"), (needed + 1, "stop")):
        params = greedy(max_tokens=count, stop=stop)
        assert {result.finish_reason for result in assert_all_schedules_as_reference(params)} == {reason}


def test_a_stop_string_that_never_completes_is_text():
    """What was held back as a possible stop string is part of the text when the limit is reached."""
    text = decode(reference_tokens()[:6])
    for result in assert_all_schedules_as_reference(greedy(max_tokens=6, stop=text[-2:] + "\x00never")):
        assert result.text == text


@pytest.mark.parametrize("short", [0, 1])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_context_of_the_shortest_member_is_the_limit(schedule: str, short: int):
    """Prompt and output fill the smallest context exactly; a model with learned positions would fail beyond it."""
    members = list(tiny.models("gpt2"))
    members[short] = tiny.build("gpt2", seed=short, n_positions=24)
    ensemble = tiny.ensemble(members)
    for length in (1, 17, 20, 21, 22, 23):
        prompt = list(range(10, 10 + length))
        (result,) = ensemble.generate([prompt], greedy(), schedule=schedule)
        assert len(result.token_ids) == 24 - length
        assert result.finish_reason == "length"
        assert_counters_reconcile(result)
    with pytest.raises(RequestError, match="24 tokens for a context of 24"):
        ensemble.generate([list(range(24))], greedy(), schedule=schedule)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_sampled_texts_end_at_their_first_end(schedule: str):
    """At temperature 1 too: an end is only ever the last token, and the text is that of the tokens before it."""
    ensemble, ends = tiny.text_ensemble(), list(range(20, 60))
    stopped = 0
    for seed in range(12):
        params = SamplingParams(max_tokens=20, seed=seed, stop_token_ids=ends)
        result = run(schedule, params)
        assert_counters_reconcile(result)
        assert not set(ends) & set(result.token_ids[:-1])
        is_end = result.token_ids[-1] in ends
        assert result.finish_reason == ("stop" if is_end else "length")
        assert is_end or len(result.token_ids) == 20
        shown = result.token_ids[:-1] if is_end else result.token_ids
        assert result.text == ensemble.tokenizer.decode(shown, skip_special_tokens=True)
        stopped += is_end
    assert stopped > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_end_cuts_the_same_sample_short(schedule: str):
    """With one seed, an end leaves the tokens before it as they were under `token` verification."""
    free = run(schedule, SamplingParams(max_tokens=20, seed=4))
    end = free.token_ids[7]
    index = free.token_ids.index(end)
    ended = run(schedule, SamplingParams(max_tokens=20, seed=4, stop_token_ids=[end]))
    assert ended.token_ids == free.token_ids[: index + 1]


def test_parameters_are_not_changed_by_a_request():
    """A request leaves its parameters as they were, and the same request again gives the same (R32)."""
    params = greedy(stop=["zz"], stop_token_ids=[7], seed=3)
    before = dataclasses.asdict(params)
    first, second = run("cos:2,3", params), run("cos:2,3", params)
    assert dataclasses.asdict(params) == before
    assert first.token_ids == second.token_ids
    assert first.stats.verified == second.stats.verified
