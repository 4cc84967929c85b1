"""Exceptions a caller may catch, and the words of their messages.

    UnisonoError
    ├── ConfigurationError   an option, name or config key that cannot be honoured
    ├── MemberError          a model that cannot be loaded or does not fit
    │   └── VocabularyError  models that do not share their tokens
    └── RequestError         a prompt or sampling parameter that cannot be served

A message is one line: what is wrong, the value after a colon, then what to do. All are `ValueError`s too, so code that
does not know this package still catches bad input in the usual way.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from unisono.values import plain, shown

Given = TypeVar("Given")
Made = TypeVar("Made")


class UnisonoError(ValueError):
    """Base of every error that the user of this package can cause and mend."""


class ConfigurationError(UnisonoError):
    """An option, a name or a config key cannot be honoured."""


class MemberError(UnisonoError):
    """A model cannot be loaded, does not fit in memory, or cannot be a member."""


class VocabularyError(MemberError):
    """Members that do not share a vocabulary."""


class RequestError(UnisonoError):
    """A prompt or a sampling parameter cannot be served."""


def named(part: str, error: Exception) -> UnisonoError:
    """Return an error of a user's code as one line that names the part; an error of this package as it is."""
    if isinstance(error, UnisonoError):
        return error
    found = ConfigurationError(f"{part} failed: {type(error).__name__}: {' '.join(str(error).split())}")
    found.__cause__ = error
    return found


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigurationError:
    """The error for a name that does not exist; it gives the nearest one that does, and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigurationError(f"unknown {kind}: {name!r}; {hint}available: {', '.join(names)}")


def require_known(kind: str, names: Iterable[object], known: Collection[str]) -> None:
    """Raise the error of `unknown` for the first name that is not known."""
    for name in names:
        if name not in known:
            raise unknown(kind, str(name), known)


def require_count(name: str, value: object, least: int) -> int:
    """An option as an integer; ConfigurationError unless it is one, at least so large."""
    count = plain(value)
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise ConfigurationError(f"{name} must be an integer, {least} or more, not: {shown(value)}")
    return count


def make_all(make: Callable[[Given], Made], given: Sequence[Given], kind: str) -> list[Made]:
    """What `make` returns for each thing; all are tried before any error is raised.

    Raises:
        RequestError: at least one failed. The message counts them, and names the first ten and what is wrong with each.
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
