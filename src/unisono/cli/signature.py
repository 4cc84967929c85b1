"""The options of a command as one value: a frozen dataclass declares them, and its fields become the parameters.

A field is `Annotated[type, typer.Option(...)]` with a default, or a dataclass of the same kind, whose fields take its place.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter
from typing import Any


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one parameter per field in place of each parameter that is a dataclass, for `typer` to read.

    Calls take the fields as keywords; the command gets the dataclass made of them.
    """
    declared = inspect.signature(command)
    groups = {each.name: each.annotation for each in declared.parameters.values() if is_dataclass(each.annotation)}

    @functools.wraps(command)
    def call(**values: Any) -> None:
        command(**{name: _taken(values, options) for name, options in groups.items()}, **values)

    flat = [parameter for each in declared.parameters.values() for parameter in _parameters(each.name, each.annotation)]
    call.__signature__ = declared.replace(parameters=flat)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in flat}
    return call


def given(options: Any) -> dict[str, Any]:
    """The fields that say something, those of inner dataclasses beside the others: not None, False or an empty list."""
    found: dict[str, Any] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if is_dataclass(value):
            found |= given(value)
        elif value is not None and value is not False and value != []:
            found[each.name] = value
    return found


def _taken(values: dict[str, Any], options: Any) -> Any:
    """The dataclass made of its fields, which leave the values."""
    return options(
        **{
            each.name: _taken(values, each.type) if is_dataclass(each.type) else values.pop(each.name)
            for each in fields(options)
        }
    )


def _parameters(name: str, annotation: Any, default: Any = Parameter.empty) -> Iterator[Parameter]:
    if is_dataclass(annotation):
        for each in fields(annotation):
            yield from _parameters(each.name, each.type, _default(each))
    else:
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default(declared: Field[Any]) -> Any:
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return declared.default
