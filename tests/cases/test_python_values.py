"""Numbers, ids and lists of other libraries are taken wherever Python's own are, and kept as Python's own."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from tests.facade.one_line import one_line
from unisono import ConfigurationError, Ensemble, RequestError, SamplingParams, combine
from unisono.decoding.schedules import cos, risky, speculative
from unisono.text.prompts import Pair
from unisono.values import integers, listed, plain

pd: Any = pytest.importorskip("pandas")
IDS = [5, 7, 9]
PROMPT = "for i in"
GREEDY = SamplingParams(max_tokens=4, temperature=0)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


FORMS: dict[str, Callable[[list[int]], Any]] = {
    "numpy": np.array,
    "small numpy integers": lambda ids: np.array(ids, dtype=np.uint16),
    "a list of numpy integers": lambda ids: [np.int64(each) for each in ids],
    "a tuple": tuple,
    "torch": torch.tensor,
    "a list of torch scalars": lambda ids: [torch.tensor(each) for each in ids],
    "pandas": pd.Series,
    "a generator": lambda ids: (each for each in ids),
    "an array of objects": lambda ids: np.array([np.int32(each) for each in ids], dtype=object),
}


@pytest.mark.parametrize("form", FORMS)
def test_ids_of_a_prompt(ensemble: Ensemble, form: str):
    """One row of ids is one prompt, in every call that takes one."""
    (expected,) = ensemble.generate(IDS, GREEDY)
    (result,) = ensemble.generate(FORMS[form](IDS), GREEDY)
    assert result.token_ids == expected.token_ids
    assert {type(token) for token in result.token_ids} == {int}
    (*_, last) = ensemble.stream(FORMS[form](IDS), GREEDY)
    assert last.result is not None
    assert last.result.token_ids == expected.token_ids
    plain_score, score = (ensemble.scorings([Pair(f(IDS), f([4, 2]))])[0] for f in (list, FORMS[form]))
    assert plain_score.row.task == score.row.task


@pytest.mark.parametrize(
    "prompts",
    [
        np.array([IDS, IDS[::-1]]),
        torch.tensor([IDS, IDS[::-1]]),
        [np.array(IDS), torch.tensor(IDS[::-1])],
        (each for each in (IDS, IDS[::-1])),
        pd.Series([IDS, IDS[::-1]]),
    ],
    ids=["numpy", "torch", "a list of arrays", "a generator", "pandas"],
)
def test_several_prompts_of_ids(ensemble: Ensemble, prompts: Any):
    """[n, length] is n prompts."""
    expected = [result.token_ids for result in ensemble.generate([IDS, IDS[::-1]], GREEDY)]
    assert [result.token_ids for result in ensemble.generate(prompts, GREEDY)] == expected


@pytest.mark.parametrize("make", [np.array, pd.Series, tuple, iter], ids=["numpy", "pandas", "a tuple", "an iterator"])
def test_several_texts(ensemble: Ensemble, make: Any):
    """Also with parameters for each, in the same form."""
    expected = [result.text for result in ensemble.generate([PROMPT, "x ="], GREEDY)]
    each: Any = iter([GREEDY, GREEDY])
    assert [result.text for result in ensemble.generate(make([PROMPT, "x ="]), each)] == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_tokens", np.int64(3), 3),
        ("max_tokens", torch.tensor(3), 3),
        ("temperature", np.float32(0.5), 0.5),
        ("temperature", torch.tensor(0.5), 0.5),
        ("temperature", Decimal("0.5"), 0.5),
        ("temperature", np.int8(1), 1),
        ("top_p", Fraction(1, 2), 0.5),
        ("seed", np.uint64(2**64 - 1), 2**64 - 1),
        ("logprobs", np.True_, True),
        ("stop", np.array(["a", "b"]), ("a", "b")),
        ("stop_token_ids", np.array([3, 4]), (3, 4)),
        ("stop_token_ids", {3}, (3,)),
        ("allowed_token_ids", torch.tensor([3, 4]), (3, 4)),
        ("allowed_token_ids", range(3), (0, 1, 2)),
        ("logit_bias", {np.int64(3): np.float32(-2)}, {3: -2.0}),
        ("bad_words", pd.Series(["a"]), ("a",)),
    ],
)
def test_sampling_parameters(name: str, value: Any, expected: Any):
    """They hold Python's own values, so that they print, compare and pickle like those."""
    found = getattr(SamplingParams(**{name: value}), name)
    assert found == expected
    assert repr(found) == repr(expected)


OPTIONS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "only": (combine.only, np.int64(1), 1),
    "weighted": (combine.weighted, np.array([1, 3]), [0.25, 0.75]),
    "contrastive": (combine.contrastive, np.float32(0.5), 0.5),
    "a tensor": (combine.contrastive, torch.tensor(0.5), 0.5),
    "cos": (lambda lengths: cos(*lengths).name, torch.tensor([1, 4]), (1, 4)),
    "speculative": (lambda length: speculative(length).name, np.int8(2), 2),
    "risky": (lambda length: risky(length).name, np.int64(0), 0),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_weights_and_draft_lengths(option: str):
    make, value, expected = OPTIONS[option]
    assert make(value) == make(expected)
    assert repr(make(value)) == repr(make(expected))


def test_rows_and_memory():
    ensemble = tiny.ensemble(tiny.models("llama"), rows=np.int64(3), memory=np.int64(2**24))
    assert len(ensemble.generate([IDS] * 4, GREEDY)) == 4


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (np.array([1.0, 2.0]), "float"),
        ([np.array([[5, 7]])], "ndarray of list"),
        ([[5, np.float32(1)]], "list of float32"),
        ([[5, np.True_]], "list of bool"),
        ({"input_ids": IDS}, "dict"),
        (pd.DataFrame({"ids": IDS}), "DataFrame"),
        ({5, 7}, "set"),
        (torch.tensor([True, False]), "bool"),
    ],
    ids=["floats", "a batch in a list", "a float", "a bool", "a dict", "a table", "a set", "a mask"],
)
def test_prompts_that_are_none(ensemble: Ensemble, prompt: Any, said: str):
    """Whole floats, truth values, mappings, tables and sets are no ids; the message names the type."""
    assert said in one_line(RequestError, lambda: ensemble.generate(prompt, GREEDY))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", np.float64(3)),
        ("max_tokens", np.True_),
        ("top_k", torch.tensor(True)),
        ("temperature", np.array([0.5])),
        ("temperature", np.float32("nan")),
        ("stop_token_ids", np.array([1.5])),
        ("logit_bias", {np.True_: 1.0}),
        ("stop", pd.DataFrame({"a": range(100)})),
    ],
)
def test_parameters_that_are_none(name: str, value: Any):
    """What is no number of the right kind stays refused, in one line."""
    assert one_line(RequestError, lambda: SamplingParams(**{name: value})).startswith(name)


@pytest.mark.parametrize("rows", [np.True_, np.float64(2), True, np.array([2]), 0])
def test_counts_that_are_none(rows: Any):
    assert one_line(ConfigurationError, lambda: tiny.ensemble(tiny.models("llama"), rows=rows)).startswith("rows")


def test_long_doubles_and_strange_objects():
    """What converts to nothing is returned as it is, so that whoever asked refuses it."""
    assert plain(np.longdouble(0.5)) == 0.5
    assert type(plain(np.longdouble(0.5))) is float
    assert plain(int) is int
    assert listed(b"ab") is None
    assert listed(np.array(3)) is None
    assert integers([]) == []
