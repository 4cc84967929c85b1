"""The exceptions of this package, and functions that make or raise them.

A message is one line: what is wrong, a colon and the wrong value, then what to do. All exceptions are `ValueError`s, so
code that does not know this package can catch wrong input as usual.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from unisono.values import plain, shown

Given = TypeVar("Given")
Made = TypeVar("Made")


class UnisonoError(ValueError):
    """The base of all errors that a user of this package can cause and correct."""


class ConfigurationError(UnisonoError):
    """An option, a name or a config key is unknown or invalid."""


class MemberError(UnisonoError):
    """A model cannot be loaded, does not fit in memory, or cannot be a member."""


class VocabularyError(MemberError):
    """The members do not share a vocabulary."""


class RequestError(UnisonoError):
    """A prompt or a sampling parameter is invalid."""


def named(part: str, error: Exception) -> UnisonoError:
    """Return an error of a user's code as one line that names the part; an error of this package as it is."""
    if isinstance(error, UnisonoError):
        return error
    found = ConfigurationError(f"{part} failed: {type(error).__name__}: {' '.join(str(error).split())}")
    found.__cause__ = error
    return found


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigurationError:
    """Return the error for a name that does not exist. Its message gives the most similar name and all known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigurationError(f"unknown {kind}: {name!r}; {hint}available: {', '.join(names)}")


def require_known(kind: str, names: Iterable[object], known: Collection[str]) -> None:
    """Raise ConfigurationError for the first name that is not among the known names. `kind` says what the names are."""
    for name in names:
        if name not in known:
            raise unknown(kind, str(name), known)


def require_count(name: str, value: object, least: int) -> int:
    """Return the value of an option as an integer; raise ConfigurationError if it is no integer or less than `least`."""
    count = plain(value)
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise ConfigurationError(f"{name} must be an integer, {least} or more, not: {shown(value)}")
    return count


def make_all(make: Callable[[Given], Made], given: Sequence[Given], kind: str) -> list[Made]:
    """Return the value of `make` for each element of `given`. All elements are tried before an error is raised.

    Args:
        kind: what the elements are, for the message.

    Raises:
        RequestError: at least one element failed. The message counts the failures and quotes the first ten.
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
