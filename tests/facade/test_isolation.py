"""A request's text is a function of the request and its seed, whatever runs beside it."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import tiny
from tests.hf import cached
from unisono import Ensemble, SamplingParams
from unisono.types import Piece

PROMPTS = ["for i in", "def f(x):\n    return", "h", "日本", "The quick brown fox", "print("]
REQUESTS = [(prompt, SamplingParams(max_tokens=16 + 3 * index, seed=index)) for index, prompt in enumerate(PROMPTS)]
SCHEDULES = ["standard", "parallel", "speculative:4", "cos:2,3"]
Texts = list[tuple[int, ...]]


def run(ensemble: Ensemble, request: tuple[str, SamplingParams], schedule: str) -> tuple[int, ...]:
    prompt, params = request
    return ensemble.generate([prompt], params, schedule=schedule)[0].token_ids


def alone(ensemble: Ensemble, schedule: str) -> Texts:
    return [run(ensemble, request, schedule) for request in REQUESTS]


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble("mistral")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_among_others_and_in_any_order(ensemble: Ensemble, schedule: str):
    """Neither batch-mates nor their order change a text (R19, R20)."""
    wanted = alone(ensemble, schedule)
    order = list(range(len(REQUESTS)))
    for seed in range(2):
        random.Random(seed).shuffle(order)
        prompts, params = zip(*(REQUESTS[index] for index in order), strict=True)
        results = ensemble.generate(prompts, params, schedule=schedule)
        assert [result.token_ids for result in results] == [wanted[index] for index in order]


def test_the_same_prompt_and_seed_in_one_call(ensemble: Ensemble):
    """Two equal requests are equal; the same prompt with another seed is another text (R28)."""
    params = [SamplingParams(max_tokens=24, seed=seed) for seed in (5, 5, 6)]
    first, second, other = ensemble.generate([PROMPTS[0]] * 3, params, schedule="cos:2,3")
    assert first.token_ids == second.token_ids != other.token_ids


def test_different_seeds_differ(ensemble: Ensemble):
    """Twelve seeds, twelve texts: also the largest one, and those that agree in their low 32 bits."""
    seeds = [*range(9), 2**32, 2**33 + 1, 2**64 - 1]
    texts = {run(ensemble, (PROMPTS[0], SamplingParams(max_tokens=24, seed=seed)), "cos:2,3") for seed in seeds}
    assert len(texts) == len(seeds)


@pytest.mark.parametrize("schedule", ["standard", "cos:2,3"])
def test_interleaved_streams(ensemble: Ensemble, schedule: str):
    """Streams that are read in turn, one closed in the middle, give what each gives alone."""
    wanted = alone(ensemble, schedule)
    streams = [ensemble.stream(prompt, params, schedule=schedule) for prompt, params in REQUESTS]
    found: list[list[int]] = [[] for _ in streams]
    waiting = dict(enumerate(streams))
    choose = random.Random(3)
    while waiting:
        index = choose.choice(sorted(waiting))
        if index == 2 and len(found[2]) == 5:
            waiting.pop(index).close()  # type: ignore[attr-defined]
        elif not read_one(waiting[index], found[index]):
            del waiting[index]
    assert found[2] == list(wanted[2][:5])
    del found[2], wanted[2]
    assert found == [list(text) for text in wanted]
    assert cached(ensemble) == [{}, {}]


def read_one(stream: Iterator[Piece], tokens: list[int]) -> bool:
    """Append the next token; False behind the last."""
    piece = next(stream)
    if piece.commit:
        tokens.append(piece.commit.token)
    return piece.result is None


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_threads(ensemble: Ensemble, schedule: str):
    """Several threads that generate and stream at the same time get what each would get alone."""
    wanted = alone(ensemble, schedule)
    start = threading.Barrier(len(REQUESTS))

    def work(index: int) -> tuple[int, ...]:
        start.wait()
        if index % 2:
            return run(ensemble, REQUESTS[index], schedule)
        tokens: list[int] = []
        stream = ensemble.stream(*REQUESTS[index], schedule=schedule)
        while read_one(stream, tokens):
            pass
        return tuple(tokens)

    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        for _ in range(2):
            assert list(pool.map(work, range(len(REQUESTS)))) == wanted
    assert cached(ensemble) == [{}, {}]


def test_logprobs_beside_a_stream(ensemble: Ensemble):
    """Scoring a continuation while a stream is open disturbs neither."""
    wanted = run(ensemble, REQUESTS[0], "cos:2,3")
    score = ensemble.logprobs("for i", " in range")
    tokens: list[int] = []
    stream = ensemble.stream(*REQUESTS[0], schedule="cos:2,3")
    while read_one(stream, tokens):
        assert ensemble.logprobs("for i", " in range").logprobs == pytest.approx(score.logprobs, abs=1e-4)
    assert tuple(tokens) == wanted


def test_earlier_requests_leave_nothing_behind(ensemble: Ensemble):
    """A request gives the same before and after others of any kind, a refused one too (R32)."""
    wanted = run(ensemble, REQUESTS[1], "cos:2,3")
    with pytest.raises(ValueError, match="empty"):
        ensemble.generate([""])
    ensemble.generate(PROMPTS[:2], SamplingParams(max_tokens=5, temperature=3.0, top_k=5), combine="product")
    ensemble.logprobs("a", "b")
    assert run(ensemble, REQUESTS[1], "cos:2,3") == wanted
