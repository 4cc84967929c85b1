"""Python's own values from what users write: numbers of other libraries, arrays, tensors, series, generators."""

import operator
from collections.abc import Iterable
from contextlib import suppress
from numbers import Real
from typing import Any

LONGEST = 200  # characters of a value in a message


def plain(value: Any) -> Any:
    """A number of another library as Python's own, an array of any shape as lists of such numbers; all else as it is."""
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
    """The elements of a list, an array, a series, a generator or the like; None for a text, a mapping or a single value."""
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "tolist"):
        found = value.tolist()
        return found if isinstance(found, list) else None
    if isinstance(value, str | bytes | bytearray) or hasattr(value, "keys") or not isinstance(value, Iterable):
        return None
    return list(value)


def integers(value: Any) -> list[int] | None:
    """The elements as Python's integers; None if one of them is none, as True and 1.0, or there are no elements to look at."""
    found = listed(value)
    if found is None:
        return None
    found = [each if type(each) is int else plain(each) for each in found]
    return found if all(type(each) is int for each in found) else None


def kind(value: Any) -> str:
    """The type of a value, and that of the first element that is no integer, for messages."""
    name = type(value).__name__
    elements = listed(value) or () if isinstance(value, list | tuple) or hasattr(value, "tolist") else ()
    wrong = [type(each).__name__ for each in elements if type(plain(each)) is not int]
    return f"{name} of {wrong[0]}" if wrong else name


def shown(value: Any) -> str:
    """A value for a message of one line: as Python writes it, or its type where that is long."""
    text = repr(value)
    return text if len(text) <= LONGEST and "\n" not in text else type(value).__name__
