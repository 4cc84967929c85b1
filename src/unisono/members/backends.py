"""Backends load members. Registered backends are asked before the one that comes with this package.

To add a backend, write one class with the methods of `Backend` and call `backends.register(MyBackend())`.
"""

import functools
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from unisono.errors import ConfigurationError, MemberError, require_known
from unisono.members.source import Source

if TYPE_CHECKING:  # this module imports torch, which is not needed to name a member
    from unisono.members.base import Member

BUILT_IN = {"transformers": "unisono.members.hf.backend:Transformers"}  # imported at first use
OWN = tuple(each.name for each in fields(Source) if each.name != "options")  # options that every backend accepts


class Backend(Protocol):
    """Loads members from one kind of source. Registering a second backend with the same `name` replaces the first one."""

    name: str

    @property
    def options(self) -> type[Any]:
        """Return the class of the options that this backend accepts in addition to the fields of `Source`.

        It is a frozen dataclass with a default for every field, and raises ConfigurationError for a wrong value.
        """

    def takes(self, source: Source) -> bool:
        """Return whether this backend can load the source. `source.options` is still None at this point."""

    def check(self, source: Source) -> None:
        """Raise ConfigurationError or MemberError for errors that can be found before anything is loaded."""

    def load(self, source: Source) -> "tuple[Member, Any]":
        """Return a member with the name `source.called`, and its tokenizer or None; raise MemberError if this fails."""

    def twin(self, member: Any, name: str) -> "Member":
        """Return a second member of the same ensemble. They share weights, options and slots: `score` accepts both."""

    def share(self, member: Any, name: str) -> "Member":
        """Return an unrestricted member for another ensemble; it shares weights and options and has its own cache."""


_registered: list[Backend] = []


def register(backend: Backend) -> None:
    """Register a backend. It is asked before all others and replaces a registered backend of the same name.

    Raise ConfigurationError if the object lacks an attribute or method of `Backend`.
    """
    wanted = ("name", "options", "takes", "check", "load", "twin", "share")
    lacking = [each for each in wanted if not hasattr(backend, each)]
    if lacking:
        raise ConfigurationError(f"a backend must have {', '.join(wanted)}; this one lacks {', '.join(lacking)}")
    _registered[:] = [backend, *(each for each in _registered if each.name != backend.name)]


def backend_of(source: Source) -> Backend:
    """Return the first backend that can load the source; raise MemberError if none can."""
    found = next((backend for backend in _backends() if backend.takes(source)), None)
    if found is None:
        raise MemberError(f"a member is a name, a folder or a loaded model, not: {source.model!r}")
    return found


def member_options() -> list[str]:
    """Return the names of all options that some backend accepts for a member; the fields of `Source` come first."""
    return [*OWN, *_option_names(_backends())]


def as_source(value: object, **defaults: Any) -> Source:
    """Return a checked `Source` for what a user lists as a member: a name, a mapping of options, a model or a `Source`.

    Args:
        defaults: options for a member that does not set them itself.

    Raises:
        ConfigurationError: an option is unknown or wrong, or cannot be used with this member.
        MemberError: no backend can load such a model.
    """
    if isinstance(value, Source):
        own = value.given()
    else:
        own = dict(value) if isinstance(value, Mapping) else {"model": value}
    given = {**defaults, **own}
    if "model" not in given:
        require_known("member option", given, member_options())
        listed = ", ".join(map(str, given)) or "an empty mapping"
        raise ConfigurationError(f"a member needs a model, not only: {listed}")
    source = Source(**{key: given.pop(key) for key in OWN if key in given})
    backend = backend_of(source)
    require_known("member option", given, [*OWN, *_option_names([backend])])
    source = replace(source, options=backend.options(**given))
    backend.check(source)
    return source


def _option_names(backends: Iterable[Backend]) -> list[str]:
    return list(dict.fromkeys(each.name for backend in backends for each in fields(backend.options)))


def _backends() -> Iterator[Backend]:
    yield from _registered
    yield from map(_imported, BUILT_IN.values())


@functools.cache
def _imported(place: str) -> Backend:
    backend: Backend = pkgutil.resolve_name(place)()
    return backend
