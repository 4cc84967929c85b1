"""Backends are objects that load members. Registered backends are tried before the backend for transformers models.

To add a backend, write a class with the methods of `Backend` and call `backends.register(MyBackend())`.
"""

import functools
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from unisono.errors import ConfigurationError, MemberError, require_known
from unisono.members.source import Source

if TYPE_CHECKING:  # `members.base` imports torch, which is not needed to list members
    from unisono.members.base import Member

BUILT_IN = {"transformers": "unisono.members.hf.backend:Transformers"}  # imported at first use
OWN = tuple(each.name for each in fields(Source) if each.name != "options")  # options that every backend accepts


class Backend(Protocol):
    """An object that loads members from one kind of source. `register` removes an old backend with the same `name`."""

    name: str

    @property
    def options(self) -> type[Any]:
        """Return the class of the options that this backend accepts in addition to the fields of `Source`.

        The class is a frozen dataclass with a default for every field. Its constructor raises ConfigurationError for a
        wrong value.
        """

    def takes(self, source: Source) -> bool:
        """Return whether this backend can load the source. During this call `source.options` is always None."""

    def check(self, source: Source) -> None:
        """Check the source without loading the model. Raise ConfigurationError or MemberError for a wrong source."""

    def load(self, source: Source) -> "tuple[Member, Any]":
        """Load a member from the source. Return (member, tokenizer), or (member, None) if there is no tokenizer.

        The name of the new member must be `source.called`. Raise MemberError if the model cannot be loaded.
        """

    def twin(self, member: Any, name: str) -> "Member":
        """Return a second member for the same ensemble. The new member has the weights, options and cache of `member`.

        A slot of `member` and a slot of the new member never have the same number. One call of `score` may contain work
        for slots of the two members.
        """

    def share(self, member: Any, name: str) -> "Member":
        """Return a member for another ensemble. The new member has the weights and options of `member`.

        The new member has its own cache. Calls of `restrict` on `member` do not limit the vocabulary of the new member.
        """


_registered: list[Backend] = []


def register(backend: Backend) -> None:
    """Register a backend. If an older registered backend has the same name, remove the older backend.

    The new backend is tried before all other backends. Raise ConfigurationError if `backend` lacks an attribute
    or a method of the protocol `Backend`.
    """
    wanted = ("name", "options", "takes", "check", "load", "twin", "share")
    lacking = [each for each in wanted if not hasattr(backend, each)]
    if lacking:
        raise ConfigurationError(f"a backend must have {', '.join(wanted)}; this one lacks {', '.join(lacking)}")
    _registered[:] = [backend, *(each for each in _registered if each.name != backend.name)]


def backend_of(source: Source) -> Backend:
    """Return the first backend that can load the source. Raise MemberError if no backend can load the source."""
    found = next((backend for backend in _backends() if backend.takes(source)), None)
    if found is None:
        raise MemberError(f"a member is a name, a folder or a loaded model, not: {source.model!r}")
    return found


def member_options() -> list[str]:
    """Return the names of all options of a member: first the fields of `Source`, then the options of all backends."""
    return [*OWN, *_option_names(_backends())]


def as_source(value: object, **defaults: Any) -> Source:
    """Return a checked `Source` for one member. `value` is a name, a mapping of options, a loaded model or a `Source`.

    Args:
        defaults: option values to use where `value` does not set the option.

    Raises:
        ConfigurationError: an option is unknown, has a wrong value, or cannot be used with this member.
        MemberError: no backend can load the model.
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
