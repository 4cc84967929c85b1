"""Convert a user's text to a combination: `weighted:0.7,0.3`, `contrastive:mu=0.2` or `my_module:my_function`."""

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.combine.base import Combination, require_reads
from unisono.combine.cascade import cascade
from unisono.combine.cosd import cosd, cosd_tree
from unisono.combine.gates import gate, nudge
from unisono.combine.logits import contrastive, contrastive_masked, product
from unisono.combine.mixtures import drawn, weighted
from unisono.combine.selection import custom, only
from unisono.combine.steering import context_aware, guidance, proxy, realign
from unisono.errors import ConfigurationError, unknown


@dataclass(frozen=True)
class Form:
    """The syntax of the text that describes one kind of combination.

    build: the function that returns the combination. keys: for each option name, the function that converts the text of
    the option's value. A user writes option values in the order of `keys` or as `name=value`. per_member: whether the
    text has one weight per member in front of the options. In this case all options must be written as `name=value`.
    """

    build: Callable[..., Combination]
    keys: Mapping[str, Callable[[str], Any]]
    per_member: bool = False


FORMS = {
    "weighted": Form(weighted, {"order": str}, per_member=True),
    "drawn": Form(drawn, {}, per_member=True),
    "product": Form(product, {}, per_member=True),
    "contrastive": Form(contrastive, {"mu": float}),
    "contrastive_masked": Form(contrastive_masked, {"alpha": float, "beta": float}),
    "proxy": Form(proxy, {"alpha": float}),
    "realign": Form(realign, {"lam": float}),
    "guidance": Form(guidance, {"scale": float}),
    "context_aware": Form(context_aware, {"alpha": float}),
    "cosd": Form(cosd, {"alpha": float, "beta": float}),
    "cosd_tree": Form(cosd_tree, {"file": str}),
    "cascade": Form(cascade, {"rule": str, "alpha": float}),
    "nudge": Form(nudge, {"threshold": float}),
    "gate": Form(gate, {"threshold": float, "by": str}, per_member=True),
    "only": Form(only, {"member": int}),
}


def as_combination(value: object, members: int) -> Combination:
    """Return the combination for an object, a text, a function or None. `members` is the number of members.

    None gives the weighted ensemble with equal weights.

    Raises:
        ConfigurationError: the value has another type, cannot be used with this number of members, or has an unknown
            word in `reads`.
    """
    combination = _build(value, members)
    require_reads(combination)
    combination.check(members)
    try:
        hash(combination)  # rows with equal combinations are computed together
    except TypeError:
        raise ConfigurationError(
            f"combination {combination.name} must be hashable; make it a frozen dataclass or a function"
        ) from None
    return combination


def _build(value: object, members: int) -> Combination:
    if value is None:
        return weighted([1.0] * members)
    if isinstance(value, str):
        return parse(value, members)
    if any(value is form.build for form in FORMS.values()):
        raise ConfigurationError("a combination must be called with its parameters, as in combine.weighted([0.7, 0.3])")
    if isinstance(value, Combination) or callable(value):
        return _given(value)
    raise ConfigurationError(f"a combination is a name, an object of unisono.combine or a function, not: {value!r}")


def _given(value: Any) -> Combination:
    """Return the combination for a user-defined object or function."""
    if isinstance(value, Combination):
        return value
    if isinstance(value, type) and issubclass(value, Combination):
        raise ConfigurationError(
            f"combination {value.__name__} is a class; give an object of it: {value.__name__}(...)"
        )
    return custom(value)


def parse(text: str, members: int = 2) -> Combination:
    """Return the combination for a text of the form `name`, `name:value,key=value` or `module:function`.

    A text without weights gives equal weights that sum to 1. In `module:function`, the function may also be an object
    of a subclass of `Combination`.

    Raises:
        ConfigurationError: the name or a key is unknown, or a value is wrong.
    """
    name, _, rest = text.partition(":")
    if name in FORMS:
        return _written(name, FORMS[name], rest, members)
    if rest:
        return _given(_imported(name, rest))
    raise unknown("combination", text, FORMS)


def _written(name: str, form: Form, rest: str, members: int) -> Combination:
    positional, keyed = _arguments(name, rest, form)
    options = {key: _value(name, form.keys[key], value) for key, value in keyed.items()}
    if form.per_member:
        weights = [_value(name, float, value) for value in positional]
        return form.build(weights or [1 / members] * members, **options)
    if len(positional) > len(form.keys):
        raise ConfigurationError(f"combination {name} takes {' and '.join(form.keys)}, not: {rest}")
    for key, value in zip(form.keys, positional, strict=False):
        if key in options:
            raise ConfigurationError(f"combination {name} is given {key} twice: {rest}")
        options[key] = _value(name, form.keys[key], value)
    try:
        return form.build(**options)
    except TypeError:
        example = "tree.json" if "file" in form.keys else "0"
        raise ConfigurationError(
            f"combination {name} needs {' and '.join(form.keys)}, as in {name}:{example}"
        ) from None


def _arguments(name: str, rest: str, form: Form) -> tuple[Sequence[str], Mapping[str, str]]:
    positional, keyed = [], {}
    for part in (part.strip() for part in rest.split(",") if rest):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            positional.append(part)
        elif key in keyed:
            raise ConfigurationError(f"combination {name} is given {key} twice: {rest}")
        elif key in form.keys:
            keyed[key] = value
        elif form.keys:
            raise unknown(f"option of {name}", key, form.keys)
        else:
            raise ConfigurationError(f"combination {name} has no options, only weights, not: {part}")
    return positional, keyed


def _value(name: str, convert: Callable[[str], Any], text: str) -> Any:
    try:
        return convert(text)
    except ValueError:
        kind = "an index" if convert is int else "a number"
        raise ConfigurationError(f"combination {name} needs {kind}, not: {text!r}") from None


def _imported(module: str, attribute: str) -> object:
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        if not isinstance(error, ModuleNotFoundError) or error.name != module:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigurationError(f"combination {module}:{attribute} cannot be imported ({reason})") from error
        near = difflib.get_close_matches(module, FORMS, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"available: {', '.join(FORMS)}, module:function"
        raise ConfigurationError(
            f"unknown combination: {module!r}; {hint} (there is no module of that name either)"
        ) from None
    value: object = getattr(found, attribute, None)
    if value is None:
        raise ConfigurationError(f"combination {module}:{attribute}: the module has no {attribute!r}")
    if not (callable(value) or isinstance(value, Combination)):
        raise ConfigurationError(f"combination {module}:{attribute} is not a function")
    return value
