"""The options of a member that transformers loads."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from unisono.errors import ConfigurationError, require_count, unknown

DTYPES = ("auto", "float32", "float16", "bfloat16")
COMPILE = ("auto", "on", "off")
ATTENTION = ("sdpa", "eager")  # those that take masks from outside
# Arguments that configuration, tokenizer and model are found and read with
WHERE = ("cache_dir", "token", "local_files_only", "subfolder", "revision", "trust_remote_code")
LEAST = 16  # tokens of a context: a member is tried with some when it is loaded
TAKEN = {
    "torch_dtype": "dtype",
    "quantization_config": "quantization",
    "config": "model",
    "output_loading_info": "model",
}
KINDS: dict[str, tuple[Any, str]] = {
    "dtype": (str, "a text"),
    "device": (str | None, "a text"),
    "revision": (str | None, "a text"),
    "trust_remote_code": (bool, "true or false"),
    "compile": (str, "a text"),
    "deterministic": (bool, "true or false"),
    "attn_implementation": (str | None, "a text"),
    "cache_dir": (str | os.PathLike | None, "a folder"),
    "local_files_only": (bool, "true or false"),
    "subfolder": (str | None, "a text"),
    "max_memory": (Mapping | None, "a mapping from devices to sizes"),
    "load_options": (Mapping | None, "a mapping of options"),
}


@dataclass(frozen=True)
class Options:
    """What a user may say of one member. torch and transformers are imported only for values that need them.

    dtype: "auto" is the checkpoint's own type, except that half precision on a CPU becomes bfloat16 where the processor
        has instructions for it and float32 where not; or float32, float16, bfloat16.
    device, device_map, quantization, revision, trust_remote_code: as `from_pretrained` in transformers takes them;
        `quantization` is a quantization config or its dict.
    compile: "on" compiles the forwards of few tokens at loading and keeps the result for later runs; "auto" uses what
        was kept, and with `deterministic` nothing; "off" does neither.
    context_length: the most tokens of prompt and text, 16 or more; what the model says by default. A model with rotary
        positions takes more than it says.
    attn_implementation: "sdpa" or "eager"; by default what transformers takes.
    cache_dir, token, local_files_only, subfolder, max_memory: as `from_pretrained` takes them. A token is never shown.
    load_options: further arguments of the model's `from_pretrained`; those of `WHERE`, and all others of this class, go by
        their own names.
    deterministic: every row in forwards of its own, so that its logits do not depend, to the last bit, on the rows beside
        it. Costs what batching gives. Where all members are, the schedule `auto` goes by sizes instead of times.

    Raises:
        ConfigurationError: a value is wrong, or its device is not here.
    """

    dtype: str = "auto"
    device: str | None = None
    device_map: Any = None
    quantization: Any = None
    revision: str | None = None
    trust_remote_code: bool = False
    compile: str = "auto"
    deterministic: bool = False
    context_length: int | None = None
    attn_implementation: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = field(default=None, repr=False)
    local_files_only: bool = False
    subfolder: str | None = None
    max_memory: Mapping[Any, Any] | None = None
    load_options: Mapping[str, Any] | None = field(default=None, repr=False)  # proxies may hold passwords

    def __post_init__(self) -> None:
        torch = sys.modules.get("torch")  # imported by whoever has a dtype of it
        if torch is not None and isinstance(self.dtype, torch.dtype):
            object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        given: object = self.compile
        if isinstance(given, bool):  # YAML reads `on` and `off` so
            object.__setattr__(self, "compile", "on" if given else "off")
        for name, (kinds, wanted) in KINDS.items():
            if not isinstance(getattr(self, name), kinds):
                raise ConfigurationError(f"a member's {name} must be {wanted}, not: {getattr(self, name)!r}")
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        if self.compile not in COMPILE:
            raise unknown("compile", self.compile, COMPILE)
        if self.attn_implementation is not None and self.attn_implementation not in ATTENTION:
            raise unknown("attn_implementation", self.attn_implementation, ATTENTION)
        if self.context_length is not None:
            require_count("a member's context_length", self.context_length, LEAST)
        if self.max_memory is not None and self.device_map is None:
            raise ConfigurationError('max_memory is read for a device_map only; give device_map="auto" too')
        _require_token(self.token)
        _require_unnamed(self.load_options or {})
        if self.device is not None and self.device_map is not None:
            raise ConfigurationError("give a member either device or device_map, not both")
        if self.device is not None:
            _require_device(self.device)
        if not isinstance(self.quantization, Mapping | None):
            _require_quantization(self.quantization)


def _require_token(token: object) -> None:
    """Its value is in no message; a client of the hub would show one that does not fit into a header."""
    if not isinstance(token, str | bool | None):
        raise ConfigurationError(f"a member's token must be a text, true or false, not: {type(token).__name__}")
    if isinstance(token, str) and not (token.isascii() and token.isprintable() and " " not in token and token):
        raise ConfigurationError(
            "a member's token must be of letters, digits and signs; it may hold a blank or a line end"
        )


def _require_unnamed(load_options: Mapping[str, Any]) -> None:
    own = {each.name: each.name for each in fields(Options)} | TAKEN
    for key in load_options:
        if key in own:
            raise ConfigurationError(f"load_options must not hold {key!r}: give the member's {own[key]} by itself")


def _require_device(name: str) -> None:
    import torch

    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda", "mps", "xpu"):
        raise unknown("device", name, ("cpu", "cuda", "cuda:0", "mps", "xpu"))
    if kind != "cpu" and not getattr(torch, kind).is_available():
        raise ConfigurationError(f"device {name} is not available here; use cpu")


def _require_quantization(value: object) -> None:
    from transformers.utils.quantization_config import QuantizationConfigMixin

    if not isinstance(value, QuantizationConfigMixin):
        raise ConfigurationError(
            f"a member's quantization must be a quantization config or its mapping, not: {value!r}"
        )
