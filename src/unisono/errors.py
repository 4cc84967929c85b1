"""The exceptions of this package, and functions that make or raise exceptions.

A message is one line: what is wrong, a colon and the wrong value, then what to do. All exceptions are subclasses of
`ValueError`, so code that does not import this package can catch them too.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from unisono.values import plain, shown

Given = TypeVar("Given")
Made = TypeVar("Made")


class UnisonoError(ValueError):
    """The base class of all errors that a user of this package can cause and correct."""


class ConfigurationError(UnisonoError):
    """An option, a name or a config key is unknown or invalid."""


class MemberError(UnisonoError):
    """A model cannot be loaded, does not fit in memory, or cannot be a member."""


class VocabularyError(MemberError):
    """The members do not share a vocabulary."""


class RequestError(UnisonoError):
    """A prompt or a sampling parameter is invalid."""


def named(part: str, error: Exception) -> UnisonoError:
    """Return an error of this package unchanged. Return others as a one-line error that names `part`."""
    if isinstance(error, UnisonoError):
        return error
    found = ConfigurationError(f"{part} failed: {type(error).__name__}: {' '.join(str(error).split())}")
    found.__cause__ = error
    return found


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigurationError:
    """Return the error for an unknown name. The message suggests the most similar name and lists all known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigurationError(f"unknown {kind}: {name!r}; {hint}available: {', '.join(names)}")


def require_known(kind: str, names: Iterable[object], known: Collection[str]) -> None:
    """Raise ConfigurationError for the first name that is not in `known`. `kind` is a noun for the message."""
    for name in names:
        if name not in known:
            raise unknown(kind, str(name), known)


def require_count(name: str, value: object, least: int) -> int:
    """Return an option's value as an int. Raise ConfigurationError if the value is no integer or less than `least`."""
    count = plain(value)
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise ConfigurationError(f"{name} must be an integer, {least} or more, not: {shown(value)}")
    return count


def make_all(make: Callable[[Given], Made], given: Sequence[Given], kind: str) -> list[Made]:
    """Call `make` for each element of `given` and return the results. No error is raised before the last call.

    Args:
        kind: a noun for the elements, for the message.

    Raises:
        RequestError: `make` raised RequestError for at least one element. The message gives the number of failures and
            the first ten failures.
    """
    made, failed = [], []
    for index, each in enumerate(given):
        try:
            made.append(make(each))
        except RequestError as error:
            failed.append(f"[{index}] {each}: {error}")
    if failed:
        more = "" if len(failed) <= 10 else f"; and {len(failed) - 10} more"
        raise RequestError(f"{len(failed)} of {len(given)} {kind} cannot be scored: {'; '.join(failed[:10])}{more}")
    return made
