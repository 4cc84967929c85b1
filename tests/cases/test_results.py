"""What a call gives back is short to print, names its prompt, and goes into JSON; an ensemble can be closed."""

import json
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.facade.one_line import one_line
from tests.hf import cached, caches, hf
from unisono import Ensemble, RequestError, Result, SamplingParams, Source
from unisono.types import Stats

PROMPT, OTHER = "for i in", "def f(x):"
SHORT = SamplingParams(max_tokens=4, seed=1)
CLOSED = "the ensemble is closed; load it again"


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


@pytest.fixture
def own() -> Ensemble:
    """One to be closed."""
    return tiny.ensemble(tiny.text_models(), tiny.tokenizer())


@pytest.mark.parametrize("text", ["", "x", "word " * 500, "\x00\\'\"" * 500, "日本🙂" * 500])
def test_a_short_repr(text: str):
    """Under 200 characters, whatever the text and the name of the combination."""
    result = Result(text, (5,) * 500, "length", (), Stats(), 2**53 - 1, "weighted:" + "0.25," * 50, "cos:1", "token")
    assert len(repr(result)) < 200
    assert "\n" not in repr(result)
    assert repr(text[:3])[1:4] in repr(result)
    assert str(2**53 - 1) in repr(result)


def test_prompt_and_index(ensemble: Ensemble):
    """A text or ids as they were given, and its place in the call; all samples of a prompt have the same."""
    ids = [5, 7, 9]
    results = ensemble.generate([PROMPT, np.array(ids)], SamplingParams(max_tokens=2, n=2))  # type: ignore[arg-type]
    assert [(result.index, result.sample, result.prompt) for result in results] == [
        (0, 0, PROMPT),
        (0, 1, PROMPT),
        (1, 0, (5, 7, 9)),
        (1, 1, (5, 7, 9)),
    ]
    (*_, last) = ensemble.stream(OTHER, SHORT)
    assert last.result is not None
    assert (last.result.prompt, last.result.index) == (OTHER, 0)
    assert len(repr(last)) < 300
    messages = [{"role": "user", "content": "hi"}]
    assert ensemble.chat(messages, SHORT).prompt == tuple(ensemble.encode_chat(messages))


@pytest.mark.parametrize("options", [{}, {"logprobs": True, "top_logprobs": 3}, {"prompt_logprobs": True}])
def test_plain_values_for_json(ensemble: Ensemble, options: dict[str, Any]):
    """What JSON gives back is what went in: no tuples, no numbers that JSON has not."""
    (result,) = ensemble.generate(PROMPT, SamplingParams(max_tokens=3, seed=1, **options), combine="contrastive:0.9")
    found = result.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["text"] == result.text
    assert found["token_ids"] == list(result.token_ids)
    assert found["stats"]["acceptance"] == result.stats.acceptance
    assert found["prompt"] == PROMPT


def test_minus_infinity_is_none():
    """A combination may rule a token out."""
    made = Result("", (), "stop", (), Stats(), 0, "", "", "", prompt_logprobs=(None, -1.0, -float("inf")))
    assert made.to_dict()["prompt_logprobs"] == [None, -1.0, None]


@pytest.mark.parametrize("form", [list, tuple, np.array], ids=["list", "tuple", "numpy"])
def test_logprobs_of_ids(ensemble: Ensemble, form: Any):
    """Ids are read as given: those of the texts score as the texts do, alone and in lists."""
    prompt, whole = (ensemble.tokenizer.encode(text) for text in (PROMPT, PROMPT + " range"))
    continuation = whole[len(prompt) :]
    expected = ensemble.logprobs(PROMPT, " range")
    assert ensemble.logprobs(form(prompt), form(continuation)) == expected
    several = ensemble.logprobs([form(prompt), form(whole[:2])], [form(continuation), form(whole[2:4])])
    assert [score.token_ids for score in several] == [tuple(continuation), tuple(whole[2:4])]
    assert several[0].logprobs == pytest.approx(expected.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    ("prompt", "continuation", "said"),
    [
        (PROMPT, [5], "two lists of token ids, or two texts"),
        ([5, 7], [[5], [7]], "two lists of the same length"),
        ([5], [[7]], "two lists of the same length"),
        ([[5], [7]], [[5], []], "continuation is empty"),
        ([[5]], [[1.5]], "list of float"),
        ([5], [10**6], "not all members know: 1000000"),
    ],
)
def test_logprobs_of_what_does_not_fit(ensemble: Ensemble, prompt: Any, continuation: Any, said: str):
    assert said in one_line(RequestError, lambda: ensemble.logprobs(prompt, continuation))


def test_parameters_have_a_hash():
    """Equal ones have equal hashes, whatever the order of biases and the kind of list; they pickle."""
    one = SamplingParams(stop=["a"], logit_bias={1: 2.0, 3: 4.0}, allowed_token_ids=[1, 3])
    same = SamplingParams(stop=("a",), logit_bias={3: 4.0, 1: 2.0}, allowed_token_ids=np.array([1, 3]))  # type: ignore[arg-type]
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same, SamplingParams(), SamplingParams(logit_bias={1: 2.0}), SamplingParams(stop="a")}) == 4
    assert pickle.loads(pickle.dumps(one)) == one


def test_parameters_have_a_hash_whatever_their_processors():
    """A class that says when two of its objects are equal has none of its own."""

    class Same:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        def __call__(self, ids: Any, logits: Any) -> Any:
            return logits

    one, same = SamplingParams(logits_processors=[Same()]), SamplingParams(logits_processors=[Same()])
    assert one == same
    assert hash(one) == hash(same)


def test_sources_are_public():
    ensemble = Ensemble.load([Source(tiny.text_models()[0], tokenizer=tiny.tokenizer(), name="one")])
    assert ensemble.names == ["one"]


def test_a_closed_ensemble_refuses_requests(own: Ensemble):
    """Every kind of request, at the call; closing twice is harmless."""
    with own as opened:
        request = opened.start(PROMPT, SHORT)[0]
        assert opened.generate(PROMPT, SHORT)[0].text == tiny.text_ensemble().generate(PROMPT, SHORT)[0].text
    own.close()
    calls = [
        lambda: own.generate(PROMPT, SHORT),
        lambda: own.stream(PROMPT, SHORT),
        lambda: own.chat([{"role": "user", "content": "hi"}], SHORT),
        lambda: own.logprobs(PROMPT, " x"),
        lambda: own.start(PROMPT, SHORT),
        lambda: own.engine.submit(request.row),
        lambda: list(request.stream(own.engine)),
    ]
    assert all(one_line(RequestError, call).endswith(CLOSED) for call in calls)  # logprobs names the pair in front
    assert own.names == ["LlamaForCausalLM#1", "LlamaForCausalLM#2"]


def test_closing_ends_what_runs_and_what_waits():
    """Streams in the middle, rows in line and their siblings; nothing stays in the caches."""
    own = tiny.ensemble(tiny.text_models(), tiny.tokenizer(), rows=1)
    streams = [own.stream(prompt, SamplingParams(max_tokens=200, ignore_eos=True)) for prompt in (PROMPT, OTHER)]
    next(streams[0])
    waiting = own.start(OTHER, SamplingParams(max_tokens=20, n=2))
    own.engine.submit(*(request.row for request in waiting))
    own.close()
    assert [one_line(RequestError, lambda stream=stream: list(stream)) for stream in streams] == [CLOSED, CLOSED]  # type: ignore[misc]
    assert [one_line(RequestError, request.drain) for request in waiting] == [CLOSED, CLOSED]
    assert cached(own) == [{}, {}]
    assert [cache.shape for cache in caches(own)] == [(0, 0), (0, 0)]


def test_closing_from_another_thread(own: Ensemble):
    """Whoever waits for a text gets the error."""
    failed: list[Exception] = []
    begun, closed = threading.Event(), threading.Event()

    def wait() -> None:
        try:
            for _ in own.stream(PROMPT, SamplingParams(max_tokens=500, ignore_eos=True)):
                begun.set()
                closed.wait(60)
        except RequestError as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(60)
    own.close()
    closed.set()
    thread.join(60)
    assert [str(error) for error in failed] == [CLOSED]


def test_closing_gives_back_what_recorded_graphs_keep(own: Ensemble):
    """Their cache stays as large as it has grown while the ensemble is open."""
    cache = caches(own)[0]
    cache.keep = True
    own.generate(PROMPT, SHORT)
    assert cache.shape != (0, 0)
    own.close()
    assert cache.shape == (0, 0)
    assert not hf(own).keeps
