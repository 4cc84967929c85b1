"""Many requests, some cancelled: nothing is stuck, leaked or mixed up."""

import random
from typing import Any

import pytest

from tests import tiny
from tests.hf import caches
from unisono import Ensemble, SamplingParams, combine


@pytest.mark.slow
def test_two_thousand_requests_with_cancellations():
    """10% are closed midway; 50 random finished ones equal the same request alone; no slot is left behind."""
    ensemble = Ensemble.load(list(tiny.models("llama")), combine.weighted([0.6, 0.4]), rows=16)
    dice, ended = random.Random(7), 0
    open_streams: list[Any] = []
    finished: list[Any] = []
    for number in range(2000):
        prompt = [dice.randrange(tiny.VOCABULARY) for _ in range(dice.randrange(1, 40))]
        params = SamplingParams(max_tokens=dice.randrange(1, 10), seed=number)
        schedule = dice.choice(["standard", "cos:1,1", "cos:2,1", "speculative:3"])
        stream = ensemble.stream(prompt, params, schedule=schedule)
        next(stream)
        open_streams.append((stream, prompt, params, schedule, number % 10 == 0))
        while len(open_streams) > 12:
            stream, *request, cancelled = open_streams.pop(dice.randrange(len(open_streams)))
            ended += 1
            if cancelled:
                stream.close()
            else:
                *_, last = stream
                finished.append((request, last.result.token_ids))
    for stream, *_ in open_streams:
        stream.close()
        ended += 1
    assert ended == 2000
    assert all(not cache.lengths for cache in caches(ensemble))
    for (prompt, params, schedule), tokens in dice.sample(finished, 50):
        assert ensemble.generate(prompt, params, schedule=schedule)[0].token_ids == tokens
