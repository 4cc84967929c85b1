"""Wrong combinations, schedules and verifications: one line of the right class, which names the value."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests import tiny
from tests.facade.one_line import one_line
from unisono import Ensemble, SamplingParams, combine
from unisono.decoding.schedules import cos, speculative
from unisono.errors import ConfigurationError

PROMPT = "for i in"
SHORT = SamplingParams(max_tokens=2)
NAN, INFINITY = math.nan, math.inf


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


WRONG_WEIGHTS = {
    "weighted:1": "1",
    "weighted:0.2,0.3,0.5": "3",
    "weighted:-0.5,1.5": "-0.5",
    "weighted:0,0": "0.0, 0.0",
    "weighted:nan,1": "nan",
    "weighted:inf,1": "inf",
    "weighted:-inf,1": "inf",
    "weighted:a,b": "'a'",
    "weighted:0.5,,0.5": "''",
    "product:1": "1",
    "product:-1,2": "-1",
    "product:nan,1": "nan",
    "contrastive:nan": "nan",
    "contrastive:inf": "inf",
    "contrastive_masked:0,1": "0",
    "contrastive_masked:1.5,1": "1.5",
    "contrastive_masked:nan,1": "nan",
    "contrastive_masked:0.1,inf": "inf",
    "only:2": "2",
    "only:-1": "-1",
    "only:x": "'x'",
    "only": "only",
}


@pytest.mark.parametrize("text", WRONG_WEIGHTS)
def test_weights_and_numbers_of_combinations(ensemble: Ensemble, text: str):
    """Too few, too many, negative, all zero, not finite or no numbers: the message repeats the value."""
    message = one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, combine=text))
    assert WRONG_WEIGHTS[text] in message


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (combine.weighted, []),
        (combine.weighted, [-1, 2]),
        (combine.weighted, [0, 0]),
        (combine.weighted, [NAN, 1]),
        (combine.weighted, [INFINITY, 1]),
        (combine.product, [0, 0]),
        (combine.contrastive, NAN),
        (combine.contrastive_masked, 0),
        (combine.only, -1),
        (combine.only, True),
        (combine.only, 0.5),
    ],
)
def test_combinations_made_in_python(make: Callable[[Any], object], argument: Any):
    """What a text may not say, a call may not either."""
    one_line(ConfigurationError, lambda: make(argument))


def test_an_unknown_order():
    """`order` is one of two, and a misspelt one is told the nearest."""
    message = one_line(ConfigurationError, lambda: combine.weighted([1, 1], order="warp-frist"))
    assert "did you mean 'warp-first'" in message


@pytest.mark.parametrize(
    ("make", "argument"),
    [(combine.weighted, ["a", "b"]), (combine.weighted, None), (combine.product, [None]), (combine.contrastive, "x")],
)
def test_things_that_are_no_numbers(make: Callable[[Any], object], argument: Any):
    """Parameters of the wrong kind are errors a caller may catch as bad input: never a silent default."""
    with pytest.raises((ValueError, TypeError)):
        make(argument)


@pytest.mark.parametrize(
    ("text", "near"), [("wieghted", "weighted"), ("contrastiv:0.1", "contrastive"), ("prodct", "product")]
)
def test_an_unknown_combination_is_told_the_nearest(ensemble: Ensemble, text: str, near: str):
    """A misspelt name is repeated, and the name it was probably meant to be is given."""
    message = one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, combine=text))
    assert text.partition(":")[0] in message
    assert f"did you mean '{near}'" in message


@pytest.mark.parametrize(
    "text", ["", "weighted:0.5,0.5,ordr=x", "contrastive:nu=1", "no_such_module:function", "math:nothing", "math:pi"]
)
def test_other_bad_combinations(ensemble: Ensemble, text: str):
    """Unknown options, modules and functions are named."""
    message = one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, combine=text))
    for part in ("ordr", "nu", "no_such_module", "nothing", "pi"):
        assert part not in text.split("=")[0].replace(",", ":").split(":") or part in message


@pytest.mark.parametrize("value", [3, 0.5, ["weighted"], {"weighted": 1}])
def test_something_that_is_no_combination(ensemble: Ensemble, value: object):
    """Neither a name nor a function: the message repeats it."""
    assert repr(value) in one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, combine=value))


def test_a_contrast_takes_two_members():
    """An expert and an amateur, not three members."""
    three = tiny.text_ensemble(count=3)
    for text in ("contrastive:0.1", "contrastive_masked:0.1,0.5"):
        assert "3" in one_line(ConfigurationError, lambda text=text: three.generate(PROMPT, SHORT, combine=text))  # type: ignore[misc]


WRONG_SCHEDULES = {
    "speculative:0": "0",
    "speculative:-3": "-3",
    "speculative:": "speculative",
    "speculative": "speculative",
    "speculative:x": "'x'",
    "speculative:1.5": "1.5",
    "speculative:2,3": "2,3",
    "cos:0,1": "0",
    "cos:1": "cos:1",
    "cos:1,2,3": "cos:1,2,3",
    "cos:a,b": "a,b",
    "cos:": "cos",
    "standard:3": "standard:3",
    "auto:2": "auto:2",
    "": "''",
    "speculativ:4": "did you mean 'speculative",
    "standart": "did you mean 'standard'",
}


@pytest.mark.parametrize("text", WRONG_SCHEDULES)
def test_schedules(ensemble: Ensemble, text: str):
    """Unknown names and draft lengths below one, of the wrong number or kind: the message repeats them."""
    message = one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, schedule=text))
    assert WRONG_SCHEDULES[text] in message


@pytest.mark.parametrize("value", [4, 2.5, ["cos", 1, 1]])
def test_something_that_is_no_schedule(ensemble: Ensemble, value: object):
    """A number is no schedule."""
    assert repr(value) in one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, schedule=value))


@pytest.mark.parametrize(
    ("make", "lengths"), [(speculative, [0]), (speculative, [True]), (cos, [1, 0]), (cos, [2.5, 1])]
)
def test_schedules_made_in_python(make: Callable[..., object], lengths: list[Any]):
    """Draft lengths are integers, one or more."""
    assert "1 or more" in one_line(ConfigurationError, lambda: make(*lengths))


@pytest.mark.parametrize("lengths", [(1,), (1, 2, 3)])
def test_a_schedule_object_has_one_draft_length_per_member(ensemble: Ensemble, lengths: tuple[int, ...]):
    """What `cos:1` may not be for two members, `cos(1)` may not be either."""
    one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, schedule=cos(*lengths)))


@pytest.mark.parametrize("name", ["tokn", "none", ""])
def test_verifications(ensemble: Ensemble, name: str):
    """An unknown verification is named, with those there are."""
    message = one_line(ConfigurationError, lambda: ensemble.generate(PROMPT, SHORT, verification=name))
    assert repr(name) in message
    assert "token" in message


def test_defaults_are_checked_when_an_ensemble_is_loaded():
    """A wrong default is an error of `load`, not of the first request."""
    models = tiny.models("llama")
    for options in ({"combine": "weighted:1"}, {"schedule": "cos:1"}, {"verification": "x"}):
        one_line(ConfigurationError, lambda options=options: tiny.ensemble(models, **options))  # type: ignore[misc]
