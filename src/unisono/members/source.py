"""Where a member comes from: the options that a user may give for one model."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.utils.quantization_config import QuantizationConfigMixin

from unisono.errors import ConfigurationError, unknown


@dataclass(frozen=True)
class Source:
    """One member, as asked for.

    model: local folder, hub id, `zoo:<name>`, or a loaded transformers model.
    tokenizer: the model's own by default. A loaded model has none of its own; without one, prompts are token ids.
    name: how statistics call the member; its model's name by default.
    dtype: "auto" is the checkpoint's own type, except that half precision on a CPU becomes bfloat16 where that is fast
        and float32 where it is not; or float32, float16, bfloat16.
    device, device_map, quantization, revision, trust_remote_code: as `from_pretrained` in transformers takes them;
        `quantization` is a quantization config or its dict.
    compile: "on" compiles the forwards of few tokens at loading and keeps the result for later runs; "auto" uses what
        was kept; "off" does neither.
    deterministic: every row in forwards of its own, so that its logits do not depend, to the last bit, on the rows beside
        it. Costs what batching gives.
    prompt: what this member reads instead of the prompt; `{prompt}` in it is the prompt.
    """

    model: Any
    tokenizer: Any = None
    name: str | None = None
    dtype: str = "auto"
    device: str | None = None
    device_map: Any = None
    quantization: Any = None
    revision: str | None = None
    trust_remote_code: bool = False
    compile: str = "auto"
    deterministic: bool = False
    prompt: str = "{prompt}"

    def __post_init__(self) -> None:
        if not isinstance(self.model, str | Path | torch.nn.Module) or self.model == "":
            raise ConfigurationError(f"a member is a name, a folder or a loaded model, not: {self.model!r}")
        for name, (kinds, wanted) in KINDS.items():
            if not isinstance(getattr(self, name), kinds):
                raise ConfigurationError(f"a member's {name} must be {wanted}, not: {getattr(self, name)!r}")
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        if self.compile not in COMPILE:
            raise unknown("compile", self.compile, COMPILE)
        if self.device is not None and self.device_map is not None:
            raise ConfigurationError("give a member either device or device_map, not both")
        if self.device is not None:
            _require_device(self.device)
        if "{prompt}" not in self.prompt:
            raise ConfigurationError(f"a member's prompt must contain {{prompt}}, not: {self.prompt!r}")
        useless = [key for key in self._set() if key in self._cannot_change()]
        if useless:
            raise ConfigurationError(
                f"{useless[0]} cannot be changed for a member that is {self._kind()}; leave it out"
            )

    def _set(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }

    def _kind(self) -> str:
        if not isinstance(self.model, str | Path):
            return "already loaded"
        return "bundled" if str(self.model).startswith(ZOO) else "loaded by name"

    def _cannot_change(self) -> tuple[str, ...]:
        loading = ("dtype", "device", "device_map", "quantization", "revision", "trust_remote_code")
        return {"already loaded": loading, "bundled": ("revision",)}.get(self._kind(), ())


DTYPES = ("auto", "float32", "float16", "bfloat16")
COMPILE = ("auto", "on", "off")
KINDS: dict[str, tuple[Any, str]] = {
    "tokenizer": (PreTrainedTokenizerBase | None, "a tokenizer of transformers"),
    "name": (str | None, "a text"),
    "dtype": (str, "a text"),
    "device": (str | None, "a text"),
    "quantization": (Mapping | QuantizationConfigMixin | None, "a quantization config or its mapping"),
    "revision": (str | None, "a text"),
    "trust_remote_code": (bool, "true or false"),
    "compile": (str, "a text"),
    "deterministic": (bool, "true or false"),
    "prompt": (str, "a text"),
}
ZOO = "zoo:"


def _require_device(name: str) -> None:
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda", "mps", "xpu"):
        raise unknown("device", name, ("cpu", "cuda", "cuda:0", "mps", "xpu"))
    if kind != "cpu" and not getattr(torch, kind).is_available():
        raise ConfigurationError(f"device {name} is not available here; use cpu")


def as_source(value: object, **defaults: Any) -> Source:
    """A `Source` from what a user may list as a member: a name, a mapping of options, a model or a `Source`.

    Args:
        defaults: options that the member does not set itself.

    Raises:
        ConfigurationError: an option is unknown, wrong, or cannot be honoured for this member.
    """
    if isinstance(value, Source):
        own = {"model": value.model, **value._set()}
    else:
        own = dict(value) if isinstance(value, Mapping) else {"model": value}
    options = {**defaults, **own}
    known = [each.name for each in fields(Source)]
    for key in options:
        if key not in known:
            raise unknown("member option", str(key), known)
    if "model" not in options:
        raise ConfigurationError(f"a member needs a model, not only: {', '.join(map(str, options))}")
    if isinstance(options.get("compile"), bool):  # YAML reads `on` and `off` so
        options["compile"] = "on" if options["compile"] else "off"
    return Source(**options)
