"""Edits of logits that depend on the generated tokens: bias, masks, penalties, user-defined logits processors.

The edits are applied in this order, before the warp. If the combination warps the logits of each member, the logits of
each member are edited. Otherwise the combined logits are edited. The edits at a position depend only on the tokens
before the position. These tokens include open proposals, so the law equals that of standard decoding. No state is kept
between calls, so a rollback needs no extra work.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from unisono.sampling.processors import Processor, Watched
from unisono.sampling.warp import Warp


@dataclass(frozen=True)
class Edits:
    """Edits of logits before the warp. The default values change nothing.

    bias: id -> number that is added to the logit of the id. allowed: ids that are allowed; all other ids get the logit
    -inf. None allows all ids. banned: forbidden token sequences. The last token of a sequence gets the logit -inf after
    the other tokens of the sequence. min_tokens: while the output has fewer tokens, the ids in `ends` get the logit
    -inf. repetition: a factor for the tokens in prompt and output. Positive logits are divided by the factor, and
    negative logits are multiplied by the factor. presence: a number that is subtracted from the logits of tokens in the
    output. frequency: a number that is subtracted from the logit of a token once per occurrence in the output.
    processors: functions that are called once per position. The arguments are the tokens of prompt and output before
    the position, and the logits.
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

    @cached_property
    def nothing(self) -> bool:
        return self == Edits(ends=self.ends)

    def __call__(self, logits: Tensor, prompt: Sequence[int], generated: Sequence[Sequence[int]]) -> Tensor:
        """Return the edited logits [K, V]. Position k follows `prompt` and `generated[k]`.

        The argument is never changed. If no edit applies, the argument itself is returned. Otherwise the logits are
        copied once, and the edits change single entries of the copy.
        """
        banned = [self._banned(prefix, logits.shape[-1]) for prefix in generated]
        penalised = self.repetition != 1 or self.presence or self.frequency
        if not (self.bias or self.allowed is not None or any(banned) or penalised or self.processors):
            return logits
        logits = self._allowed(logits)
        if self.bias:
            logits[:, list(self.bias)] += torch.tensor([*self.bias.values()], dtype=logits.dtype, device=logits.device)
        for row, tokens in zip(logits, banned, strict=True):
            if tokens:
                row[tokens] = -torch.inf
        if penalised:
            seen = torch.tensor([token for token in prompt if token < logits.shape[-1]], dtype=torch.long)
            seen = seen.to(logits.device)
            for row, prefix in zip(logits, generated, strict=True):
                self._penalise(row, seen, prefix)
        for process in self.processors:
            ids = [torch.tensor([[*prompt, *prefix]], device=logits.device) for prefix in generated]
            rows = zip(ids, torch.split(logits, 1), strict=True)
            logits = torch.cat([process(prefix, row) for prefix, row in rows])
        return logits

    def watched(self) -> "Edits":
        """Return these edits for one row, with each processor wrapped in `Watched` to detect kept state."""
        return replace(self, processors=tuple(Watched(process) for process in self.processors))

    def check(self) -> None:
        """Repeat the first call of each watched processor. Raise RequestError if the result has changed."""
        for process in self.processors:
            if isinstance(process, Watched):
                process.check()

    def _allowed(self, logits: Tensor) -> Tensor:
        """Return a copy of the logits, with -inf for the ids that are not allowed."""
        if self.allowed is None:
            return logits.clone()
        allowed = torch.tensor(self.allowed, device=logits.device)
        return torch.full_like(logits, -torch.inf).index_copy_(-1, allowed, logits[:, allowed])

    def _banned(self, prefix: Sequence[int], size: int) -> list[int]:
        """Return the tokens that must not follow the generated tokens `prefix`."""
        banned = [words[-1] for words in self.banned if _ends_with(prefix, words[:-1])]
        if len(prefix) < self.min_tokens:
            banned += self.ends
        return [token for token in banned if token < size]  # ends may lie outside the logits

    def _penalise(self, row: Tensor, prompt: Tensor, prefix: Sequence[int]) -> None:
        """Change the logits [V] of the tokens in the prompt and in the generated tokens `prefix`."""
        counted = Counter(prefix)
        tokens = torch.tensor(list(counted), dtype=torch.long, device=row.device)
        if self.repetition != 1:
            seen = torch.cat([prompt, tokens])  # a token may occur twice: both times, the same value is written
            logits = row[seen]
            row[seen] = torch.where(logits > 0, logits / self.repetition, logits * self.repetition)
        if counted and (self.presence or self.frequency):
            counts = torch.tensor(list(counted.values()), dtype=row.dtype, device=row.device)
            row[tokens] = row[tokens] - self.presence - self.frequency * counts


@dataclass(frozen=True, eq=False)
class EditedWarp:
    """A warp for the K open positions of one row. Edits and masks are applied to the logits before `warp`.

    generated: for each position, the tokens between the prompt and the position. If `edits` changes nothing,
    `generated` is not read. masks: bool [K, V], the tokens that a constraint allows at each position; None without a
    constraint.
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
        return replace(self, warp=self.warp.untempered())

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the probabilities [K, V] for logits [K, V]."""
        edited = logits if self.edits.nothing else self.edits(logits, self.prompt, self.generated)
        if self.masks is not None:
            forbidden = ~self.masks.to(logits.device)
            fill = edited.masked_fill if edited is logits else edited.masked_fill_  # only a copy may be changed
            edited = fill(forbidden, -torch.inf)
        return self.warp(edited)


def _ends_with(tokens: Sequence[int], end: Sequence[int]) -> bool:
    return not end or tuple(tokens[-len(end) :]) == tuple(end)
