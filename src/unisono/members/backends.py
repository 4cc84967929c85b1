"""Backends: who loads a member. A registered one is asked first, then those that come with this package.

A backend of your own is one object with the methods of `Backend`, and one line: `backends.register(Mine())`.
"""

import functools
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from unisono.errors import ConfigurationError, MemberError, require_known
from unisono.members.source import Source

if TYPE_CHECKING:  # it imports torch, which nobody needs who only names a member
    from unisono.members.base import Member

BUILT_IN = {"transformers": "unisono.members.hf.backend:Transformers"}  # imported when it is first asked
OWN = tuple(each.name for each in fields(Source) if each.name != "options")  # what a member may have in any backend


class Backend(Protocol):
    """Loads members of one kind.

    Attributes:
        name: one of the same name takes its place.
    """

    name: str

    @property
    def options(self) -> type[Any]:
        """A frozen dataclass, each field with a default: what a member may have beside the fields of `Source`.

        It raises ConfigurationError for a wrong value.
        """
        ...

    def takes(self, source: Source) -> bool:
        """Whether the source is of this kind. Its options are not known yet."""
        ...

    def check(self, source: Source) -> None:
        """Raise ConfigurationError or MemberError for what can be known to be wrong before anything is loaded."""
        ...

    def load(self, source: Source) -> "tuple[Member, Any]":
        """The member, called `source.called`, and its tokenizer (None if there is none).

        Raises:
            MemberError: it cannot be loaded.
        """
        ...

    def twin(self, member: Any, name: str) -> "Member":
        """Another member of the same ensemble: it shares weights, all options and slot numbers.

        So `score` of either takes work of both, in one call.
        """
        ...

    def share(self, member: Any, name: str) -> "Member":
        """A member of another ensemble: it shares weights and all options, and has a cache of its own.

        It is not restricted to the vocabulary of the first ensemble.
        """
        ...


_registered: list[Backend] = []


def register(backend: Backend) -> None:
    """Ask this backend before all others. It replaces a registered one of the same name.

    Raises:
        ConfigurationError: it lacks something that `Backend` has.
    """
    wanted = ("name", "options", "takes", "check", "load", "twin", "share")
    lacking = [each for each in wanted if not hasattr(backend, each)]
    if lacking:
        raise ConfigurationError(f"a backend must have {', '.join(wanted)}; this one lacks {', '.join(lacking)}")
    _registered[:] = [backend, *(each for each in _registered if each.name != backend.name)]


def backend_of(source: Source) -> Backend:
    """The first backend that takes the source; MemberError if none does."""
    found = next((backend for backend in _backends() if backend.takes(source)), None)
    if found is None:
        raise MemberError(f"a member is a name, a folder or a loaded model, not: {source.model!r}")
    return found


def member_options() -> list[str]:
    """The names of all options that a member may have in some backend, those of `Source` first."""
    return [*OWN, *_option_names(_backends())]


def as_source(value: object, **defaults: Any) -> Source:
    """A checked `Source` from what a user may list as a member: a name, a mapping of options, a model or a `Source`.

    Args:
        defaults: options that the member does not set itself.

    Raises:
        ConfigurationError: an option is unknown, wrong, or cannot be honoured for this member.
        MemberError: no backend knows such a model.
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
    module, _, name = place.partition(":")
    backend: Backend = getattr(importlib.import_module(module), name)()
    return backend
