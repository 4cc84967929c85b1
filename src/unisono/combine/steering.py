"""Combinations that add the difference of two members' logits to the logits of a base model.

The two members are other models, or the base model with two different prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unisono.combine.base import OwnCombination, Traits, finite
from unisono.combine.logits import Steered, linear
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class Proxy(Steered):
    """The combination that `proxy` returns."""

    roles = "the base, the expert and the anti-expert"
    takes = 3
    alpha: float

    @property
    def name(self) -> str:
        return f"proxy:{self.alpha:g}"

    def scores(self, logits: Sequence[Tensor]) -> Tensor:
        return linear(logits, (1.0, self.alpha, -self.alpha))


def proxy(alpha: float = 1.0) -> Proxy:
    """Return proxy-tuning: `r = softmax(l_base + alpha (l_expert - l_antiexpert))`.

    Papers: DExperts (arXiv 2105.03023) and proxy-tuning (arXiv 2401.08565).

    The members are the base, a small tuned model (the expert), and the small model before tuning (the anti-expert).

    Raises:
        ConfigurationError: alpha is not finite.
    """
    return Proxy(finite("alpha", alpha))


@dataclass(frozen=True)
class Realign(OwnCombination):
    """The combination that `realign` returns."""

    roles = "the aligned model and its reference"
    lam: float

    @property
    def name(self) -> str:
        return f"realign:{self.lam:g}"

    def scores(self, logits: Sequence[Tensor]) -> Tensor:
        return linear(logits, (self.lam, 1 - self.lam))

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(weights=(abs(self.lam), abs(1 - self.lam)))


def realign(lam: float = 0.5) -> Realign:
    """Return decoding-time realignment: `r = softmax(lam l_aligned + (1 - lam) l_reference)` (DeRa, arXiv 2402.02992).

    Args:
        lam: the strength of the alignment. 0 gives the law of the reference, 1 gives the law of the aligned model. A
            value above 1 aligns more strongly than the aligned model.

    Raises:
        ConfigurationError: lam is not finite.
    """
    return Realign(finite("lam", lam))


@dataclass(frozen=True)
class Guidance(Steered):
    """The combination that `guidance` returns."""

    roles = "one model listed twice, the second one for the negative prompt"
    prompts = ("prompt", "negative")
    scale: float

    @property
    def name(self) -> str:
        return f"guidance:{self.scale:g}"

    def scores(self, logits: Sequence[Tensor]) -> Tensor:
        return linear(logits, (self.scale, 1 - self.scale))


def guidance(scale: float = 1.5) -> Guidance:
    """Return classifier-free guidance: `r = softmax(scale l_prompt + (1 - scale) l_negative)` (arXiv 2306.17806).

    The two members are the same model, listed twice. The first member reads the prompt. The second member reads
    `negative_prompt` of the sampling parameters. Without a negative prompt, the second member reads the last token of
    the prompt, as in transformers.

    Args:
        scale: 1 gives the law of the model after the prompt. With a value above 1, tokens that are probable after the
            negative prompt become less probable.

    Raises:
        ConfigurationError: scale is not finite.
    """
    return Guidance(finite("scale", scale))


def context_aware(alpha: float = 0.5) -> Guidance:
    """Return context-aware decoding: `r = softmax((1 + alpha) l_context - alpha l_without)` (arXiv 2305.14739).

    The result equals `guidance(1 + alpha)`. The prompt contains the context and the question. The negative prompt
    contains only the question.

    Raises:
        ConfigurationError: alpha is not finite.
    """
    return guidance(1 + finite("alpha", alpha))
