"""What is measured: tasks that score one method, item by item."""

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import eq
from typing import Any, ClassVar, Self

from unisono.ensemble import Ensemble
from unisono.evals.likelihood import forwards_of, log_probabilities
from unisono.evals.skills import STOP, Item
from unisono.params import SamplingParams


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


@dataclass(frozen=True)
class Task(ABC):
    """Items with a score each. `unit` names the mean score; `higher` says whether more is better."""

    items: Sequence[Any]
    name: str = ""
    unit: ClassVar[str]
    higher: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.items)

    def first(self, count: int) -> Self:
        """The same task on its first items."""
        return replace(self, items=self.items[:count])

    @abstractmethod
    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        """Score every item with one method."""


def generated(
    ensemble: Ensemble,
    prompts: Sequence[str],
    params: SamplingParams,
    right: Callable[[Sequence[str]], Iterable[bool]],
    **method: Any,
) -> Outcome:
    """Texts behind prompts; `right` says which of them are."""
    started = time.perf_counter()
    results = ensemble.generate(prompts, params, progress=False, **method)
    seconds = time.perf_counter() - started
    texts, stats = tuple(result.text for result in results), [result.stats for result in results]
    scores, tokens = tuple(map(float, right(texts))), sum(each.tokens for each in stats)
    return Outcome(results[0].combination, scores, seconds, tokens, forwards=forwards_of(stats), texts=texts)


@dataclass(frozen=True)
class ExactMatch(Task):
    """Greedy answers that are right or wrong as a whole; `tokens` limits them, by default by the longest right one."""

    items: Sequence[Item]
    name: str = "skills"
    stop: tuple[str, ...] = (STOP,)
    tokens: int | None = None
    unit = "accuracy"

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        answers = [item.answer for item in self.items]
        longest = max(len(answer.encode()) for answer in answers)  # a token is a byte or more
        params = SamplingParams(max_tokens=self.tokens or longest + 1, temperature=0, stop=self.stop, seed=0)
        prompts = [item.prompt for item in self.items]
        return generated(
            ensemble, prompts, params, lambda texts: map(eq, texts, answers), combine=combine, schedule=schedule
        )


@dataclass(frozen=True)
class BitsPerByte(Task):
    """Negative log-likelihood of documents in bits, over their bytes in UTF-8."""

    items: Sequence[str]
    name: str = "bits-per-byte"
    unit = "bits per byte"
    higher = False

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        """Nothing is generated, so the schedule does not matter."""
        pairs = [contexts(ensemble, document) for document in self.items]
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
        sizes = tuple(float(len(document.encode())) for document in self.items)
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
