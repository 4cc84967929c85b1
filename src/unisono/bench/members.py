"""Members for measurements. A member may also be an enlarged bundled model, for example `zoo:NAME@90M`."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from unisono import zoo
from unisono.bench.inflate import inflate
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError, require_known
from unisono.members.hf.dtype import default_dtype
from unisono.members.hf.load import without_progress_bar
from unisono.members.hf.options import DTYPES
from unisono.members.source import ZOO

SIZES = {"90M": {"hidden": 768, "layers": 12, "intermediate": 2048}}  # as in GPT-2 small


def load(members: Sequence[object], combine: object = None, **options: Any) -> Ensemble:
    """Load an ensemble. A member may be an enlarged bundled model.

    Args:
        options: options of `Ensemble.load`, which apply to every member. An option with the value None is ignored.

    Raises:
        ConfigurationError: the members cannot be combined, or the size of an enlarged model is not known.
        MemberError: a member cannot be loaded.
    """
    given = {key: value for key, value in options.items() if value is not None}
    return Ensemble.load([_member(each, given) for each in members], combine)


def _member(member: object, options: dict[str, Any]) -> object:
    if not (isinstance(member, str) and member.startswith(ZOO) and "@" in member):
        return {**options, **(member if isinstance(member, dict) else {"model": member})}
    name, _, size = member.removeprefix(ZOO).partition("@")
    require_known("size of an enlarged bundled model", [size], SIZES)
    folder = zoo.path(name)
    dtype, device = options.get("dtype", "auto"), options.get("device", "cpu")
    require_known("dtype", [dtype], DTYPES)
    model = enlarge(name, size, dtype, device)
    kept = {key: value for key, value in options.items() if key in ("compile", "deterministic")}
    return {"model": model, "tokenizer": AutoTokenizer.from_pretrained(folder), "name": f"{name}@{size}", **kept}


@functools.lru_cache(maxsize=4)
def enlarge(name: str, size: str, dtype: str = "auto", device: str = "cpu") -> Any:
    """Return a bundled model enlarged to `size`.

    Except for rounding, its law is the law of the bundled model (see `inflate`).
    """
    try:
        with without_progress_bar():
            model = inflate(AutoModelForCausalLM.from_pretrained(zoo.path(name)), **SIZES[size])
    except ValueError as error:
        raise ConfigurationError(f"bundled model {name} cannot be enlarged to {size}: {error}") from None
    model.config.dtype = torch.bfloat16
    chosen = default_dtype(model.config, device) if dtype == "auto" else getattr(torch, dtype)
    return model.to(chosen).to(device)
