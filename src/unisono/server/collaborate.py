"""How one request's members work together: `collaboration`, `guidance_scale` and what the operator allows of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from unisono.combine import Combination, as_combination, contrastive, parse, product, weighted
from unisono.combine.logits import Contrastive, Product
from unisono.combine.mixtures import Weighted
from unisono.combine.parse import FORMS
from unisono.errors import UnisonoError
from unisono.server.errors import APIError
from unisono.server.models import Model
from unisono.server.schema import Collaboration
from unisono.server.worker import Worker

# A request may name these; `module:function` would run code, and some others read files
SAFE = (
    "weighted", "product", "contrastive", "contrastive_masked", "only", "drawn", "proxy", "realign", "guidance",
    "context_aware", "cascade", "cosd", "nudge", "gate",
)  # fmt: skip


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


def reads_negative(combination: Combination) -> bool:
    """Whether the second member reads a negative prompt instead of the prompt."""
    return combination.name.partition(":")[0] in ("guidance", "context_aware")


def guidance(scale: float, model: Model) -> tuple[Worker, Combination]:
    """The worker whose two members read the prompt and the negative prompt, and its combination.

    Raises:
        APIError: 400 if the model cannot be guided.
    """
    if "guidance" not in FORMS:
        raise APIError(400, "guidance_scale is not supported by this version", "guidance_scale")
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
    text, count = given.get("combine"), len(model.config.members)
    if text is not None and text.partition(":")[0] not in (known := [name for name in SAFE if name in FORMS]):
        raise _refused("combine", f"a request may name {', '.join(known)}, not: {text!r}")
    base: Combination = _attempt("combine", lambda: as_combination(text or model.config.combine, count))
    if "weights" in given:
        if not isinstance(base, Weighted | Product):
            raise _refused("weights", f"{base.name} has no weights")
        base = _attempt("weights", partial(_reweighted, base, given["weights"]))
        _attempt("weights", partial(base.check, count))
    if "mu" in given:
        if not isinstance(base, Contrastive):
            raise _refused("mu", f"{base.name} has no mu")
        base = contrastive(given["mu"])
    return base


def _reweighted(base: Weighted | Product, weights: Sequence[float]) -> Combination:
    return weighted(weights, base.order) if isinstance(base, Weighted) else product(weights)


def _refused(part: str, problem: str) -> APIError:
    return APIError(400, f"collaboration.{part}: {problem}", f"collaboration.{part}")


def _attempt(part: str, make: Any, whole: bool = False) -> Any:
    """What `make` returns; an error of the library names the part of the request."""
    try:
        return make()
    except UnisonoError as error:
        raise (APIError(400, str(error), part) if whole else _refused(part, str(error))) from error
