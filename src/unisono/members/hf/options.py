"""The options of a member that is loaded with transformers."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from unisono.errors import ConfigurationError, require_count, require_known, unknown
from unisono.members.source import require_kinds

DTYPES = ("auto", "float32", "float16", "bfloat16")
COMPILE = ("auto", "on", "off")
ATTENTION = ("sdpa", "eager")  # implementations that accept a mask as an argument
# Arguments of `from_pretrained` for the config, for the tokenizer and for the model
WHERE = ("cache_dir", "token", "local_files_only", "subfolder", "revision", "trust_remote_code")
LEAST = 16  # the smallest context in tokens: a member is tested with some tokens when it is loaded
OWN = {"torch_dtype": "dtype", "quantization_config": "quantization", "config": "model", "output_loading_info": "model"}
KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("dtype", "compile"), (str, "a text")),
    **dict.fromkeys(("device", "revision", "attn_implementation", "subfolder"), (str | None, "a text")),
    **dict.fromkeys(("trust_remote_code", "deterministic", "local_files_only"), (bool, "true or false")),
    "cache_dir": (str | os.PathLike | None, "a folder"),
    "max_memory": (Mapping | None, "a mapping from devices to sizes"),
    "load_options": (Mapping | None, "a mapping of options"),
}


@dataclass(frozen=True)
class Options:
    """The options of one member. torch and transformers are imported only for values that need them.

    dtype: "float32", "float16", "bfloat16" or "auto". "auto" is the checkpoint's dtype. But on a CPU, half precision is
        replaced by bfloat16 if the processor has instructions for bfloat16, else by float32.
    device, device_map, quantization, revision, trust_remote_code: arguments of `from_pretrained` of transformers.
        `quantization` is a quantization config or its dict.
    compile: how to run forward passes of few tokens on a CPU. "on" compiles these forward passes when the member is
        loaded, and writes a file for later runs. "auto" uses the file if an earlier run wrote the file and
        `deterministic` is False. "off" does not use compiled forward passes.
    context_length: the largest number of tokens of prompt and text together, 16 or more; by default the model's own
        limit. For models with rotary positions it may be larger than the model's own limit.
    attn_implementation: "sdpa" or "eager"; by default the choice of transformers.
    cache_dir, token, local_files_only, subfolder, max_memory: arguments of `from_pretrained`. `token` is never printed.
    load_options: further arguments of `from_pretrained` for the model, except arguments that have their own field.
    deterministic: whether to run every row in separate forward passes. Then the logits of a row do not depend on other
        rows, but decoding loses the speed of batching. If all members are deterministic, the schedule `auto` uses the
        sizes of the members instead of measured times.

    Raises:
        ConfigurationError: a value is wrong, or the device is not available.
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
    load_options: Mapping[str, Any] | None = field(default=None, repr=False)  # `proxies` may contain a password

    def __post_init__(self) -> None:
        torch = sys.modules.get("torch")  # torch has been imported if `dtype` is a torch.dtype
        if torch is not None and isinstance(self.dtype, torch.dtype):
            object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        given: object = self.compile
        if isinstance(given, bool):  # YAML reads `on` and `off` as booleans
            object.__setattr__(self, "compile", "on" if given else "off")
        require_kinds(self, KINDS)
        require_known("dtype", [self.dtype], DTYPES)
        require_known("compile", [self.compile], COMPILE)
        if self.attn_implementation is not None:
            require_known("attn_implementation", [self.attn_implementation], ATTENTION)
        if self.context_length is not None:
            require_count("a member's context_length", self.context_length, LEAST)
        if self.max_memory is not None and self.device_map is None:
            raise ConfigurationError('max_memory is read for a device_map only; give device_map="auto" too')
        _require_token(self.token)
        _require_unnamed(self.load_options or {})
        if self.device is not None:
            if self.device_map is not None:
                raise ConfigurationError("give a member either device or device_map, not both")
            _require_device(self.device)
        if not isinstance(self.quantization, Mapping | None):
            _require_quantization(self.quantization)


def _require_token(token: object) -> None:
    """Raise ConfigurationError if the token cannot be an HTTP header value. The message does not contain the token."""
    if not isinstance(token, str | bool | None):
        raise ConfigurationError(f"a member's token must be a text, true or false, not: {type(token).__name__}")
    if isinstance(token, str) and not (token.isascii() and token.isprintable() and " " not in token and token):
        raise ConfigurationError(
            "a member's token must be of letters, digits and signs; it may hold a blank or a line end"
        )


def _require_unnamed(load_options: Mapping[str, Any]) -> None:
    own = {each.name: each.name for each in fields(Options)} | OWN
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
