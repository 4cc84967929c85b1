"""Edits of logits that look at what was generated: bias, masks, penalties, a user's own processors.

They act, in that order, on whatever is warped: each member's logits in a warp-first combination, the combined ones
otherwise. Every position sees exactly the tokens in front of it, open proposals included, as in standard decoding;
nothing is remembered between calls, so a rollback needs no care.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unisono.sampling.processors import Processor, Watched
from unisono.sampling.warp import Warp


@dataclass(frozen=True)
class Edits:
    """What to do to logits before they are tempered. The default does nothing.

    bias: added to the logits of ids. allowed: if given, the only ids with mass. banned: token sequences that may not be
    completed. min_tokens: how many tokens come before the first of `ends`. repetition: divides positive and multiplies
    negative logits of tokens of prompt and output; presence, frequency: subtracted once, and per occurrence, for tokens
    of the output. processors: called once per position, prompt and output in front of them.
    """

    bias: Mapping[int, float] = field(default_factory=dict)
    allowed: tuple[int, ...] | None = None
    banned: tuple[tuple[int, ...], ...] = ()
    min_tokens: int = 0
    ends: tuple[int, ...] = ()
    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    processors: tuple[Processor, ...] = ()

    @property
    def nothing(self) -> bool:
        return self == Edits(ends=self.ends)

    def __call__(self, logits: Tensor, prompt: Sequence[int], generated: Sequence[Sequence[int]]) -> Tensor:
        """Edit logits [K, V]; position k comes after `prompt` and `generated[k]`. The argument is not changed."""
        logits = self._masked(self._biased(logits), generated)
        if self.repetition != 1 or self.presence or self.frequency:
            logits = self._penalised(logits, prompt, generated)
        for process in self.processors:
            ids = [torch.tensor([[*prompt, *prefix]], device=logits.device) for prefix in generated]
            rows = zip(ids, torch.split(logits, 1), strict=True)
            logits = torch.cat([process(prefix, row) for prefix, row in rows])
        return logits

    def watched(self) -> "Edits":
        """The same for one row, which finds out whether the processors remember anything."""
        return replace(self, processors=tuple(Watched(process) for process in self.processors))

    def check(self) -> None:
        """Raise RequestError if a watched processor answers its first question otherwise now."""
        for process in self.processors:
            if isinstance(process, Watched):
                process.check()

    def _biased(self, logits: Tensor) -> Tensor:
        logits = logits.clone()
        for token, bias in self.bias.items():
            logits[:, token] += bias
        return logits

    def _masked(self, logits: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        if self.allowed is not None:
            allowed = torch.tensor(self.allowed, device=logits.device)
            logits = torch.full_like(logits, -torch.inf).index_copy(-1, allowed, logits[:, allowed])
        for row, prefix in zip(logits, generated, strict=True):
            banned = [words[-1] for words in self.banned if _ends_with(prefix, words[:-1])]
            if len(prefix) < self.min_tokens:
                banned += self.ends
            row[[token for token in banned if token < len(row)]] = -torch.inf  # no member has the others
        return logits

    def _penalised(self, logits: Tensor, prompt: Sequence[int], generated: Sequence[Sequence[int]]) -> Tensor:
        size, device = logits.shape[-1], logits.device
        counts = torch.stack([_counts(prefix, size) for prefix in generated]).to(device, logits.dtype)
        seen = (counts > 0) | (_counts(prompt, size).to(device) > 0)
        punished = torch.where(logits > 0, logits / self.repetition, logits * self.repetition)
        logits = torch.where(seen, punished, logits)
        return logits - self.presence * (counts > 0) - self.frequency * counts


@dataclass(frozen=True, eq=False)
class EditedWarp:
    """A `Warp` behind edits and masks, for the K open positions of one row; used like a `Warp`.

    generated: per position, the tokens behind the prompt; not read where nothing is edited. masks: bool [K, V], which
    tokens a constraint allows, or None.
    """

    warp: Warp
    edits: Edits
    prompt: Sequence[int]
    generated: Sequence[Sequence[int]]
    masks: Tensor | None = None

    @property
    def greedy(self) -> bool:
        return self.warp.greedy

    def untempered(self) -> "EditedWarp":
        """The same edits at temperature 1, without truncation."""
        return replace(self, warp=self.warp.untempered())

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits [K, V] -> law [K, V]."""
        if not self.edits.nothing:
            logits = self.edits(logits, self.prompt, self.generated)
        if self.masks is not None:
            logits = logits.masked_fill(~self.masks.to(logits.device), -torch.inf)
        return self.warp(logits)


def _counts(tokens: Sequence[int], size: int) -> Tensor:
    return torch.bincount(torch.tensor(tokens, dtype=torch.long), minlength=size)[:size]


def _ends_with(tokens: Sequence[int], end: Sequence[int]) -> bool:
    return not end or tuple(tokens[-len(end) :]) == tuple(end)
