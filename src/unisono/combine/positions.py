"""The input of a combination: the members' scores at N open positions, and further inputs that the combination reads.

The class attribute `reads` of a combination names the further inputs. The positions may belong to several rows. A
combination must not change the tensors, because the decode loop uses the same tensors later.
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
    """The scores of one member at N positions. `law` and `raw` are computed when they are first read, and then kept.

    logits: [N, V]; -inf for tokens that the member can never produce. law: [N, V], the member's probabilities after the
    request's edits, mask, temperature and truncation. At temperature 0, only edits and mask are applied. raw: [N, V],
    the member's probabilities at temperature 1 without edits, mask and truncation.
    """

    @property
    def logits(self) -> Tensor: ...

    @property
    def law(self) -> Tensor: ...

    @property
    def raw(self) -> Tensor: ...


class GivenScores:
    """The `MemberScores` of plain logits [N, V]. `law` is computed with the given warp."""

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
    """N open positions and the input of a combination at these positions.

    Args:
        scores: one entry per member of the combination. If a member has not scored the positions, its entry holds the
            scores of another member.
        heard: the indices of the members that have scored all positions; None for all members.
        prompt: for each position, the tokens of the first member's context.
        tokens, loglikelihood, prompt_loglikelihood, features: the values of the properties with these names. A value is
            None if the combination does not read it.
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
        """For each of the N positions, the prompt tokens that the first member reads. Needs `reads = {"tokens"}`."""
        _declared("tokens", self._tokens)
        return self._prompt

    @property
    def tokens(self) -> Sequence[Sequence[int]]:
        """For each of the N positions, the generated tokens before the position. Needs `reads = {"tokens"}`."""
        return _declared("tokens", self._tokens)

    @property
    def loglikelihood(self) -> Sequence[Sequence[Tensor]]:
        """For each member and position, the member's raw log-probabilities of the generated tokens before the position.

        Each entry is a float64 tensor. The sum of an entry is the member's log-likelihood of the text. Needs
        `reads = {"loglikelihood"}`.
        """
        return _declared("loglikelihood", self._loglikelihood)

    @property
    def prompt_loglikelihood(self) -> Sequence[Sequence[Tensor]]:
        """For each member and position, the member's raw log-probabilities of the tokens of the member's prompt.

        Each entry is a float64 tensor without a value for the first token. Needs `reads = {"prompt_loglikelihood"}`.
        """
        return _declared("prompt_loglikelihood", self._prompt_loglikelihood)

    @property
    def features(self) -> Sequence[Tensor]:
        """For each member, the hidden states [N, D] of the last layer, after the final norm.

        Only members that the combination needs have hidden states. Needs `reads = {"features"}`.
        """
        return _declared("features", self._features)

    @classmethod
    def of(cls, logits: Sequence[Tensor], warp: AnyWarp) -> "Positions":
        """Return positions for plain logits, one tensor [N, V] per member. The positions have no other input."""
        return cls([GivenScores(member, warp) for member in logits])


def _declared(name: str, value: T | None) -> T:
    if value is None:
        raise ConfigurationError(f'the combination must declare that it reads {name}: reads = {{"{name}"}}')
    return value
