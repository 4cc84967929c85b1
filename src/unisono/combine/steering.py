"""Combinations that steer a model by the difference of two laws: other models', or its own under another prompt."""

from dataclasses import dataclass

from torch import Tensor

from unisono.combine.base import Combination, Logits, finite
from unisono.combine.logits import linear
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class Proxy(Combination):
    """See `proxy`."""

    roles = "the base, the expert and the anti-expert"
    takes = 3
    leading = 1.0
    alpha: float

    @property
    def name(self) -> str:
        return f"proxy:{self.alpha:g}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        return warp(linear(logits, (1.0, self.alpha, -self.alpha)))


def proxy(alpha: float = 1.0) -> Proxy:
    """Proxy-tuning: `r = softmax(l_base + alpha (l_expert - l_antiexpert))` (DExperts, arXiv 2105.03023; 2401.08565).

    Members: the base, a small tuned expert, the same small model untuned.

    Raises:
        ConfigurationError: alpha is not finite.
    """
    return Proxy(finite("alpha", alpha))


@dataclass(frozen=True)
class Realign(Combination):
    """See `realign`."""

    roles = "the aligned model and its reference"
    lam: float

    @property
    def name(self) -> str:
        return f"realign:{self.lam:g}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        return warp(linear(logits, (self.lam, 1 - self.lam)))

    def weight(self, member: int) -> float:
        return abs(self.lam if member == 0 else 1 - self.lam)


def realign(lam: float = 0.5) -> Realign:
    """Decoding-time realignment: `r = softmax(lam l_aligned + (1 - lam) l_reference)` (DeRa, arXiv 2402.02992).

    Args:
        lam: strength of the alignment: 0 is the reference, 1 the aligned model, above 1 goes beyond it.

    Raises:
        ConfigurationError: lam is not finite.
    """
    return Realign(finite("lam", lam))


@dataclass(frozen=True)
class Guidance(Combination):
    """See `guidance`."""

    roles = "one model listed twice, the second one for the negative prompt"
    leading = 1.0
    prompts = ("prompt", "negative")
    scale: float

    @property
    def name(self) -> str:
        return f"guidance:{self.scale:g}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        return warp(linear(logits, (self.scale, 1 - self.scale)))


def guidance(scale: float = 1.5) -> Guidance:
    """Classifier-free guidance: `r = softmax(scale l_prompt + (1 - scale) l_negative)` (arXiv 2306.17806).

    One model reads two prompts: its first copy the prompt, its second the `negative_prompt` of the parameters, by
    default the prompt's last token, as in transformers.

    Args:
        scale: 1 is the model alone; above, its output leans away from what it says to the negative prompt.

    Raises:
        ConfigurationError: scale is not finite.
    """
    return Guidance(finite("scale", scale))


def context_aware(alpha: float = 0.5) -> Guidance:
    """Context-aware decoding: `r = softmax((1 + alpha) l_context - alpha l_without)` (arXiv 2305.14739).

    This is `guidance(1 + alpha)`: the prompt holds context and question, the negative prompt the question alone.

    Raises:
        ConfigurationError: alpha is not finite.
    """
    return guidance(1 + finite("alpha", alpha))
