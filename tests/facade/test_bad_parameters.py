"""Wrong sampling parameters: one line that begins with the name of the parameter."""

import math
from typing import Any

import pytest

from tests import tiny
from tests.facade.one_line import one_line
from unisono import Ensemble, SamplingParams
from unisono.errors import RequestError

PROMPT = "for i in"
SHORT = SamplingParams(max_tokens=2)
NAN, INFINITY = math.nan, math.inf


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


WRONG_PARAMETERS: dict[str, list[Any]] = {
    "temperature": [-0.1, NAN, INFINITY, -INFINITY, "1", None, True],
    "top_p": [0, -0.5, 1.1, NAN, INFINITY, "0.9", None],
    "min_p": [-0.1, 1.1, NAN, INFINITY, "0.1", None],
    "top_k": [-1, 1.5, True, NAN, "5", None],
    "max_tokens": [0, -1, True, 1.5, NAN, "10", None],
    "stop": ["", [""], ["a", ""], [1], [None]],
    "stop_token_ids": [[-1], [1.5], ["a"], [True]],
    "seed": [-1, 2**64, 1.5, "7", True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_PARAMETERS.items() for value in values]
)
def test_parameters(name: str, value: Any):
    """A value out of range, or of the wrong kind, is refused when it is written, with its name and the value."""
    message = one_line(RequestError, lambda: SamplingParams(**{name: value}))
    assert message.startswith(name)
    assert repr(value[0] if isinstance(value, list) else value) in message


@pytest.mark.parametrize(
    ("name", "value"), [("stop", 5), ("stop", None), ("stop_token_ids", 5), ("stop_token_ids", None)]
)
def test_parameters_that_are_no_lists(name: str, value: Any):
    """A bare number in place of a list is named too."""
    assert name in one_line(RequestError, lambda: SamplingParams(**{name: value}))


@pytest.mark.parametrize(("name", "value"), [("ignore_eos", "no"), ("logprobs", 5), ("logprobs", None)])
def test_switches_are_true_or_false(name: str, value: Any):
    """A switch that is neither is not silently taken for one of them."""
    assert name in one_line(RequestError, lambda: SamplingParams(**{name: value}))


def test_the_bounds_themselves_are_allowed():
    """Temperature 0, top_p 1, min_p 0 and 1, one token and the largest seed are valid."""
    SamplingParams(temperature=0, top_p=1, min_p=1, top_k=0, max_tokens=1, seed=2**64 - 1)
    SamplingParams(temperature=1e-9, top_p=1e-9, min_p=0.0, top_k=10**9)


def test_an_unknown_parameter_is_an_error():
    """A misspelt parameter is not ignored."""
    with pytest.raises(TypeError, match="top_q"):
        SamplingParams(top_q=1)  # type: ignore[call-arg]


def test_a_stop_token_outside_the_vocabulary(ensemble: Ensemble):
    """An id that can never come cannot be honoured as an end."""
    params = SamplingParams(max_tokens=2, stop_token_ids=[tiny.TEXT_VOCABULARY])
    assert str(tiny.TEXT_VOCABULARY) in one_line(RequestError, lambda: ensemble.generate(PROMPT, params))
