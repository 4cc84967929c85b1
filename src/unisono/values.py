"""Convert numbers, arrays, tensors and series of other libraries, and generators, to values of Python's own types."""

import operator
from collections.abc import Iterable
from contextlib import suppress
from numbers import Real
from typing import Any

LONGEST = 200  # characters of a value in a message


def plain(value: Any) -> Any:
    """Return a number as a Python number and an array as nested lists. Return any other value unchanged."""
    if isinstance(value, bool | str) or type(value) in (int, float):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
        if isinstance(value, list):
            return [plain(each) for each in value]
    if isinstance(value, bool):
        return value
    with suppress(TypeError):
        return operator.index(value)
    if isinstance(value, Real) or hasattr(value, "__float__"):
        with suppress(TypeError, ValueError, OverflowError):
            return float(value)
    return value


def listed(value: Any) -> list[Any] | None:
    """Return the elements of a list, array, series or other iterable; None for a text, a mapping or a single value."""
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "tolist"):
        found = value.tolist()
        return found if isinstance(found, list) else None
    if isinstance(value, str | bytes | bytearray) or hasattr(value, "keys") or not isinstance(value, Iterable):
        return None
    return list(value)


def integers(value: Any) -> list[int] | None:
    """Return the elements of a list or array as Python integers.

    Return None for any other value, or if an element is not an integer. True and 1.0 do not count as integers.
    """
    found = listed(value)
    if found is None:
        return None
    found = [each if type(each) is int else plain(each) for each in found]
    return found if all(type(each) is int for each in found) else None


def kind(value: Any) -> str:
    """Return a text for messages: the type of the value, and the type of its first element that is not an integer."""
    name = type(value).__name__
    elements = listed(value) or () if isinstance(value, list | tuple) or hasattr(value, "tolist") else ()
    wrong = [type(each).__name__ for each in elements if type(plain(each)) is not int]
    return f"{name} of {wrong[0]}" if wrong else name


def shown(value: Any) -> str:
    """Return a one-line text for a value in a message: its `repr`, or the name of its type if `repr` is too long."""
    text = repr(value)
    return text if len(text) <= LONGEST and "\n" not in text else type(value).__name__
