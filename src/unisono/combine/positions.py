"""What a combination reads: the members' scores at N open positions, and what it asks for besides.

The positions may belong to several rows. All tensors are shared with the decode loop, which keeps them: a combination
must not write to them.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp, Warp

T = TypeVar("T")
READS = ("tokens", "loglikelihood", "prompt_loglikelihood", "features")


class MemberScores(Protocol):
    """What one member says at N positions. Each law is made once, when it is first read.

    logits: [N, V], -inf where a token is impossible for the member. law: [N, V], the member's law as the request warps it:
    edited, masked, tempered and truncated; at temperature 0, edited and masked only. raw: [N, V], its law at temperature 1
    without edits, mask and truncation, which rules and gates read.
    """

    @property
    def logits(self) -> Tensor: ...

    @property
    def law(self) -> Tensor: ...

    @property
    def raw(self) -> Tensor: ...


class GivenScores:
    """`MemberScores` of plain logits [N, V] under a warp."""

    def __init__(self, logits: Tensor, warp: AnyWarp) -> None:
        self.logits = logits
        self._warp = warp.untempered() if warp.greedy else warp

    @cached_property
    def law(self) -> Tensor:
        return self._warp(self.logits)

    @cached_property
    def raw(self) -> Tensor:
        return self.law if self._warp == Warp() else torch.softmax(self.logits, -1)


class Positions:
    """N open positions, as a combination sees them.

    Args:
        scores: per member of the combination. Where a member has not scored a position, these are another member's.
        heard: the members that have scored all of the positions; None for all members.
        prompt: the tokens of the first member's context.
        tokens, loglikelihood, prompt_loglikelihood, features: see the properties; None where the combination does not read
            them.
    """

    def __init__(
        self,
        scores: Sequence[MemberScores],
        heard: frozenset[int] | None = None,
        prompt: Sequence[Sequence[int]] = (),
        tokens: Sequence[Sequence[int]] | None = None,
        loglikelihood: Sequence[Sequence[Tensor]] | None = None,
        prompt_loglikelihood: Sequence[Sequence[Tensor]] | None = None,
        features: Sequence[Tensor] | None = None,
    ) -> None:
        self.scores = scores
        self.heard = frozenset(range(len(scores))) if heard is None else heard
        self._prompt, self._tokens, self._features = prompt, tokens, features
        self._loglikelihood, self._prompt_loglikelihood = loglikelihood, prompt_loglikelihood

    @property
    def prompt(self) -> Sequence[Sequence[int]]:
        """N prompts, each as the first member reads it. Needs `reads = {"tokens"}`."""
        _declared("tokens", self._tokens)
        return self._prompt

    @property
    def tokens(self) -> Sequence[Sequence[int]]:
        """N texts: the generated tokens in front of each position. Needs `reads = {"tokens"}`."""
        return _declared("tokens", self._tokens)

    @property
    def loglikelihood(self) -> Sequence[Sequence[Tensor]]:
        """Per member N tensors (float64): its raw log-probability of each generated token in front of the position.

        The sum of a tensor is the member's log-likelihood of the text. Needs `reads = {"loglikelihood"}`.
        """
        return _declared("loglikelihood", self._loglikelihood)

    @property
    def prompt_loglikelihood(self) -> Sequence[Sequence[Tensor]]:
        """Per member N tensors (float64): its raw log-probability of each token of its own prompt behind the first one.

        Needs `reads = {"prompt_loglikelihood"}`.
        """
        return _declared("prompt_loglikelihood", self._prompt_loglikelihood)

    @property
    def features(self) -> Sequence[Tensor]:
        """Per member [N, D]: its last hidden state, after the final norm. Needs `reads = {"features"}`.

        Only for members that the combination needs.
        """
        return _declared("features", self._features)

    @classmethod
    def of(cls, logits: Sequence[Tensor], warp: AnyWarp) -> "Positions":
        """Positions of plain logits, [N, V] per member, for a combination that reads nothing else."""
        return cls([GivenScores(member, warp) for member in logits])


def _declared(name: str, value: T | None) -> T:
    if value is None:
        raise ConfigurationError(f'the combination must declare that it reads {name}: reads = {{"{name}"}}')
    return value
