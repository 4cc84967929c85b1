"""A row's text is a function of request and seed, whatever runs beside it and whenever it arrives."""

import random
import threading
from typing import Any

import pytest

from tests import tiny
from tests.hf import caches
from unisono import Ensemble, RequestError, SamplingParams, combine

SCHEDULES = ("standard", "parallel", "speculative:3", "cos:2,1", "cos:1,1")


def make(architecture: str, rows: int) -> Ensemble:
    return Ensemble.load(list(tiny.models(architecture)), combine.weighted([0.6, 0.4]), rows=rows)


def requests(count: int, seed: int) -> list[tuple[list[int], SamplingParams]]:
    """Prompts from one token to beyond a chunk, and parameters of every kind."""
    dice = random.Random(seed)
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"temperature": 0},
        {"temperature": 0.7, "top_p": 0.9},
        {"repetition_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.2},
        {"logit_bias": {3: 2.0}, "min_p": 0.02},
        {"allowed_token_ids": list(range(0, 199, 2)), "top_k": 40},
        {"logprobs": True, "min_tokens": 4, "stop_token_ids": list(range(20))},
    )
    made = []
    for index in range(count):
        prompt = [dice.randrange(tiny.VOCABULARY) for _ in range(dice.choice([1, 2, 7, 30, 90, 300]))]
        made.append((prompt, SamplingParams(max_tokens=dice.randrange(4, 20), seed=index, **kinds[index % len(kinds)])))
    return made


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_batch_gives_each_row_the_tokens_it_has_alone(architecture, schedule):
    """Unequal lengths and parameters, more rows than may run at once, joining as others leave."""
    ensemble, batch = make(architecture, rows=4), requests(10, seed=1)
    alone = [ensemble.generate(prompt, params, schedule=schedule)[0].token_ids for prompt, params in batch]
    together = ensemble.generate([prompt for prompt, _ in batch], [params for _, params in batch], schedule=schedule)
    assert [result.token_ids for result in together] == alone


def test_rows_with_other_schedules_and_combinations_share_a_batch():
    """Per-row schedule and combination: streams opened one after the other, read in turns, some closed midway."""
    ensemble, batch = make("llama", rows=6), requests(8, seed=2)
    methods: list[dict[str, Any]] = [
        {"schedule": SCHEDULES[index % len(SCHEDULES)], "combine": ("contrastive:0.2", "only:0", None)[index % 3]}
        for index in range(len(batch))
    ]
    alone = [
        ensemble.generate(prompt, params, **method)[0].token_ids
        for (prompt, params), method in zip(batch, methods, strict=True)
    ]
    streams = {
        index: ensemble.stream(prompt, params, **method)
        for index, ((prompt, params), method) in enumerate(zip(batch, methods, strict=True))
    }
    dice, found = random.Random(5), {index: list[int]() for index in streams}
    while streams:
        index = dice.choice(list(streams))
        piece = next(streams[index], None)
        if piece is None:
            del streams[index]
        elif piece.commit:
            found[index].append(piece.commit.token)
            if index == 3 and len(found[3]) == 2:
                streams.pop(3).close()
    assert all(tuple(found[index]) == alone[index][: len(found[index])] for index in found)
    assert all(len(found[index]) == len(alone[index]) for index in found if index != 3)
    assert all(not cache.lengths for cache in caches(ensemble))


def test_threads_share_the_engine():
    """Several threads at once: every text is the one alone, and no slot is left behind."""
    ensemble, batch = make("llama", rows=3), requests(6, seed=3)
    alone = [ensemble.generate(prompt, params, schedule="cos:2,1")[0].token_ids for prompt, params in batch]
    found: dict[int, tuple[int, ...]] = {}

    def work(index: int) -> None:
        prompt, params = batch[index]
        found[index] = ensemble.generate(prompt, params, schedule="cos:2,1")[0].token_ids

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(batch))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [found[index] for index in range(len(batch))] == alone
    assert all(not cache.lengths for cache in caches(ensemble))


def test_an_error_in_one_row_is_that_rows_alone():
    """A processor that raises ends its row; the rows beside it go on."""
    ensemble, batch = make("llama", rows=4), requests(3, seed=4)
    alone = [ensemble.generate(prompt, params)[0].token_ids for prompt, params in batch]

    def broken(ids, logits):
        if ids.shape[1] > 12:
            raise RuntimeError("broken processor")
        return logits

    bad = ensemble.stream([1, 2, 3], SamplingParams(max_tokens=40, logits_processors=[broken]))
    streams = [ensemble.stream(prompt, params) for prompt, params in batch]
    next(bad)
    found = [tuple(piece.commit.token for piece in stream if piece.commit) for stream in streams]
    assert found == alone
    with pytest.raises(RequestError, match="broken processor"):
        list(bad)
    assert all(not cache.lengths for cache in caches(ensemble))
