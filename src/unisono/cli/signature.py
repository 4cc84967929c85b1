"""Command-line options that are declared once, as the fields of a frozen dataclass.

Declare a field with `option`, `flag` or `argument`. Each field becomes a parameter of the command. If the type of a
field is another dataclass of options, the fields of that dataclass become parameters of the command.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, field, fields, is_dataclass
from inspect import Parameter
from typing import Annotated, Any

import typer


def option(help: str, *names: str, default: Any = None, **settings: Any) -> Any:
    """Return a dataclass field for an option of the command line. `settings` are passed to `typer.Option`."""
    return _field(lambda field_name: typer.Option(*names, help=help, **settings), default)


def flag(help: str, *names: str, default: bool | None = False) -> Any:
    """Return a dataclass field for an option that takes no value and has no `--no-...` form."""
    return _field(
        lambda field_name: typer.Option(*(names or [f"--{field_name.replace('_', '-')}"]), help=help), default
    )


def argument(help: str, default: Any = None) -> Any:
    """Return a dataclass field for a positional argument of the command line."""
    return _field(lambda field_name: typer.Argument(help=help), default)


def _field(declare: Callable[[str], Any], default: Any) -> Any:
    kept = {"declare": declare}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=kept)
    return field(default=default, metadata=kept)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with a flat signature for `typer`.

    If the type of a parameter of `command` is a dataclass, the flat signature has one keyword parameter for each field
    of the dataclass instead. The returned function makes the dataclass from these values and calls `command`.
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
    """Return a dict from field names to values, with only the fields that the user set.

    Fields of inner dataclasses are included. A field counts as set unless its value is None, False or an empty list.
    """
    found: dict[str, Any] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if is_dataclass(value):
            found |= given(value)
        elif value is not None and value is not False and value != []:
            found[each.name] = value
    return found


def _taken(values: dict[str, Any], options: Any) -> Any:
    """Return an instance of the dataclass `options`. Remove the values of its fields from `values`."""
    return options(
        **{
            each.name: _taken(values, each.type) if is_dataclass(each.type) else values.pop(each.name)
            for each in fields(options)
        }
    )


def _parameters(name: str, annotation: Any, default: Any = Parameter.empty) -> Iterator[Parameter]:
    if is_dataclass(annotation):
        for each in fields(annotation):
            declare = each.metadata.get("declare")
            kind = Annotated[each.type, declare(each.name)] if declare else each.type
            yield from _parameters(each.name, kind, _default(each))
    else:
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default(declared: Field[Any]) -> Any:
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return declared.default
