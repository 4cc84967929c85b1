"""How one request's members work together: `collaboration`, `guidance_scale` and what the operator allows of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from unisono.combine import Combination, as_combination, parse
from unisono.combine.parse import FORMS
from unisono.errors import ConfigurationError, UnisonoError
from unisono.server.errors import APIError
from unisono.server.models import Model
from unisono.server.schema import Collaboration
from unisono.server.worker import Worker

# A request may name these; `module:function` would run code, and a combination in a file would read one
SAFE = tuple(name for name, form in FORMS.items() if "file" not in form.keys)


def method(asked: Collaboration | None, model: Model, allowed: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments of `Ensemble.start` for a request's `collaboration`.

    Raises:
        APIError: 400 for a part that is not allowed, does not fit the model, or is wrong; it names the part.
    """
    given = {} if asked is None else asked.model_dump(exclude_none=True)
    for name in given:
        if name not in allowed:
            parts = ", ".join(allowed) or "nothing"
            raise _refused(name, f"this server does not let requests set it (they may set: {parts})")
    chosen: dict[str, Any] = {name: given[name] for name in ("schedule", "verification") if name in given}
    if given.keys() & {"combine", "weights", "mu"}:
        chosen["combine"] = _combination(given, model)
    for name, value in chosen.items():
        _attempt(name, partial(model.ensemble.method, **{name: value}))
    return chosen


def guidance(scale: float, model: Model) -> tuple[Worker, Combination]:
    """The worker whose two members read the prompt and the negative prompt, and its combination.

    Raises:
        APIError: 400 if the model cannot be guided.
    """
    combination = _attempt("guidance_scale", lambda: parse(f"guidance:{scale!r}", 2), whole=True)
    if model.guided is not None:
        return model.guided, combination
    if len(model.config.members) == 2 and (model.config.combine or "").startswith("guidance"):
        return model.worker, combination
    message = (
        f"guidance_scale needs a model of one member, or of two that are combined by guidance; {model.name} has "
        f"{len(model.config.members)} members"
    )
    raise APIError(400, message, "guidance_scale")


def _combination(given: dict[str, Any], model: Model) -> Combination:
    """The combination that is asked for, or the configured one, with the weights or mu that are asked for."""
    text, configured, count = given.get("combine"), model.config.combine, len(model.config.members)
    if text is not None and text != configured and text.partition(":")[0] not in SAFE:
        raise _refused("combine", f"a request may name {', '.join(SAFE)}, not: {text!r}")
    combination: Combination = _attempt("combine", lambda: as_combination(text or configured, count))
    for part in ("weights", "mu"):
        if part in given:
            combination = _attempt(part, partial(_changed, combination, part, given[part]))
            _attempt(part, partial(combination.check, count))
    return combination


def _changed(combination: Combination, part: str, value: Any) -> Combination:
    """The same combination with other weights, or another value of a parameter."""
    form = FORMS.get(combination.name.partition(":")[0])
    if form is None or not (form.per_member if part == "weights" else part in form.keys):
        raise ConfigurationError(f"{combination.name} has no {part}")
    kept = {key: getattr(combination, key) for key in form.keys}
    return form.build(**{**kept, part: value})


def _refused(part: str, problem: str) -> APIError:
    return APIError(400, f"collaboration.{part}: {problem}", f"collaboration.{part}")


def _attempt(part: str, make: Any, whole: bool = False) -> Any:
    """What `make` returns; an error of the library names the part of the request."""
    try:
        return make()
    except UnisonoError as error:
        raise (APIError(400, str(error), part) if whole else _refused(part, str(error))) from error
