"""What is measured: tasks that score one method, item by item."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from unisono.ensemble import Ensemble
from unisono.evals.likelihood import log_probabilities
from unisono.evals.skills import STOP, Item
from unisono.params import SamplingParams
from unisono.types import Result


@dataclass(frozen=True)
class Outcome:
    """What one method did on a task.

    scores: per item. sizes: per item, what a score is divided by in the mean (bytes; None: 1 each). forwards: per
    member, for all items. seconds: wall time of all items together.
    """

    method: str
    scores: tuple[float, ...]
    seconds: float
    tokens: int
    sizes: tuple[float, ...] | None = None
    forwards: tuple[int, ...] = ()
    texts: tuple[str, ...] = field(default=(), repr=False)


class Task(Protocol):
    """Items with a score each. `unit` names the mean score; `higher` says whether more is better."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def higher(self) -> bool: ...

    def __len__(self) -> int: ...

    def first(self, count: int) -> "Task":
        """The same task on its first items."""
        ...

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        """Score every item with one method."""
        ...


@dataclass(frozen=True)
class ExactMatch:
    """Greedy answers that are right or wrong as a whole; `tokens` limits them, by default by the longest right one."""

    items: Sequence[Item]
    name: str = "skills"
    stop: tuple[str, ...] = (STOP,)
    tokens: int | None = None
    unit: str = "accuracy"
    higher: bool = True

    def __len__(self) -> int:
        return len(self.items)

    def first(self, count: int) -> "ExactMatch":
        return replace(self, items=self.items[:count])

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        longest = max(len(item.answer.encode()) for item in self.items)  # a token is a byte or more
        params = SamplingParams(max_tokens=self.tokens or longest + 1, temperature=0, stop=self.stop, seed=0)
        started = time.perf_counter()
        prompts = [item.prompt for item in self.items]
        results = ensemble.generate(prompts, params, combine=combine, schedule=schedule, progress=False)
        seconds = time.perf_counter() - started
        scores = tuple(float(each.text == item.answer) for each, item in zip(results, self.items, strict=True))
        return Outcome(
            results[0].combination,
            scores,
            seconds,
            sum(each.stats.tokens for each in results),
            forwards=forwards_of(results),
            texts=tuple(each.text for each in results),
        )


def forwards_of(results: Sequence[Result]) -> tuple[int, ...]:
    """Per member, over all results."""
    counts = [[member.forwards for member in each.stats.members] for each in results]
    return tuple(sum(column) for column in zip(*counts, strict=True))


@dataclass(frozen=True)
class BitsPerByte:
    """Negative log-likelihood of texts in bits, over their bytes in UTF-8."""

    documents: Sequence[str]
    name: str = "bits-per-byte"
    unit: str = "bits per byte"
    higher: bool = False

    def __len__(self) -> int:
        return len(self.documents)

    def first(self, count: int) -> "BitsPerByte":
        return replace(self, documents=self.documents[:count])

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        """Nothing is generated, so the schedule does not matter."""
        pairs = [contexts(ensemble, document) for document in self.documents]
        started = time.perf_counter()
        flat = [pair for document in pairs for pair in document]
        scored, forwards = log_probabilities(ensemble, flat, combine)
        scores = iter(scored)
        bits, tokens = [], 0
        for document in pairs:
            found = [next(scores) for _ in document]
            bits.append(-sum(score.total for score in found) / math.log(2))
            tokens += sum(len(score.token_ids) for score in found)
        seconds = time.perf_counter() - started
        sizes = tuple(float(len(document.encode())) for document in self.documents)
        name = ensemble.combination(combine).name
        return Outcome(name, tuple(bits), seconds, tokens, sizes, forwards)


def contexts(ensemble: Ensemble, document: str) -> list[tuple[str, str]]:
    """(context, piece) pairs whose pieces make up the document; each is scored behind the piece before it.

    Pieces begin with the blank they are cut at, because blanks at a context's end would count to the piece.
    """
    room = (ensemble.lineup.context_length or 2048) // 2
    pieces = [""]
    for part in _parts(document, room):
        joined = pieces[-1] + part
        if pieces[-1].strip() and len(ensemble.tokenizer.encode(joined, add_special_tokens=False)) > room:
            pieces.append(part)
        else:
            pieces[-1] = joined
    return list(zip(["", *pieces[:-1]], pieces, strict=True))


def _parts(document: str, longest: int) -> list[str]:
    """Lines, each with the line break before it; words where a line is too long; pieces where a word is."""
    lines = re.findall(r"\n*[^\n]+|\n+$", document)
    words = [word for line in lines for word in ([line] if len(line) < longest else re.findall(r"\s*\S+|\s+$", line))]
    return [word[start : start + longest] for word in words for start in range(0, len(word), longest)]
