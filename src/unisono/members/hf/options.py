"""The options of a member that transformers loads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unisono.errors import ConfigurationError, unknown

DTYPES = ("auto", "float32", "float16", "bfloat16")
COMPILE = ("auto", "on", "off")
KINDS: dict[str, tuple[Any, str]] = {
    "dtype": (str, "a text"),
    "device": (str | None, "a text"),
    "revision": (str | None, "a text"),
    "trust_remote_code": (bool, "true or false"),
    "compile": (str, "a text"),
    "deterministic": (bool, "true or false"),
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

    def __post_init__(self) -> None:
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
        if self.device is not None and self.device_map is not None:
            raise ConfigurationError("give a member either device or device_map, not both")
        if self.device is not None:
            _require_device(self.device)
        if not isinstance(self.quantization, Mapping | None):
            _require_quantization(self.quantization)


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
