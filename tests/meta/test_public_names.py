"""`unisono` exports what `__all__` says, and nothing else by accident."""

import sys
import types

import pytest

import unisono
from unisono import combine

CONTRACT = {"Ensemble", "SamplingParams", "combine"}


def test_all_is_sorted_and_without_repetition():
    assert list(unisono.__all__) == sorted(set(unisono.__all__))


def test_all_equals_the_public_names():
    """Submodules that some import has bound as attributes do not count, unless they are exported (`combine`)."""
    public = {
        name
        for name in {*dir(unisono), *vars(unisono)}
        if not name.startswith("_")
        and (name in unisono.__all__ or not isinstance(getattr(unisono, name), types.ModuleType))
    }
    assert public == {name for name in unisono.__all__ if not name.startswith("_")}


def test_contract_names_are_there():
    assert set(unisono.__all__) >= CONTRACT


def test_every_public_callable_is_documented():
    objects = {name: getattr(unisono, name) for name in unisono.__all__}
    bare = [name for name, value in objects.items() if callable(value) and not value.__doc__]
    assert bare == []


@pytest.mark.parametrize("name", unisono.__all__)
def test_public_names_are_what_their_modules_have(name: str):
    """Each is imported when it is first used; a name that is not there is said to be missing."""
    value = getattr(unisono, name)
    assert value is (combine if name == "combine" else getattr(sys.modules[value.__module__], name))
    with pytest.raises(AttributeError, match=f"no attribute '{name}s'"):
        getattr(unisono, f"{name}s")
