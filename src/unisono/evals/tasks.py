"""Tasks that give each method one score per item."""

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import eq
from typing import Any, ClassVar, Self

from unisono.ensemble import Ensemble
from unisono.evals.likelihood import forwards_of, log_probabilities
from unisono.evals.skills import STOP, Item
from unisono.params import SamplingParams


@dataclass(frozen=True)
class Outcome:
    """The result of one method on a task.

    scores: one score per item of the task.
    sizes: one size per item, or None if all sizes are 1. The mean score is the sum of scores over the sum of sizes.
    seconds, tokens: the totals over all items.
    forwards: the number of forwards of each member, over all items.
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
    """Items to score. `unit` is the name of the mean score. `higher` says whether a higher score is better."""

    items: Sequence[Any]
    name: str = ""
    unit: ClassVar[str]
    higher: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.items)

    def first(self, count: int) -> Self:
        """Return a task that has only the first `count` items of this task."""
        return replace(self, items=self.items[:count])

    @abstractmethod
    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        """Return the outcome of decoding or scoring every item with one method."""


def generated(
    ensemble: Ensemble,
    prompts: Sequence[str],
    params: SamplingParams,
    right: Callable[[Sequence[str]], Iterable[bool]],
    **method: Any,
) -> Outcome:
    """Generate a text for each prompt, and return the outcome.

    Args:
        right: a function that returns one bool per text: whether the text is a right answer.
    """
    started = time.perf_counter()
    results = ensemble.generate(prompts, params, progress=False, **method)
    seconds = time.perf_counter() - started
    texts, stats = tuple(result.text for result in results), [result.stats for result in results]
    scores, tokens = tuple(map(float, right(texts))), sum(each.tokens for each in stats)
    return Outcome(results[0].combination, scores, seconds, tokens, forwards=forwards_of(stats), texts=texts)


@dataclass(frozen=True)
class ExactMatch(Task):
    """Items with one right answer. The score is 1 if the greedy answer equals the right answer, else 0.

    `tokens` is the largest number of tokens of an answer. None means the number of bytes in the longest right answer,
    plus 1.
    """

    items: Sequence[Item]
    name: str = "skills"
    stop: tuple[str, ...] = (STOP,)
    tokens: int | None = None
    unit = "accuracy"

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        answers = [item.answer for item in self.items]
        limit = self.tokens or 1 + max(len(answer.encode()) for answer in answers)  # a token has at least one byte
        params = SamplingParams(max_tokens=limit, temperature=0, stop=self.stop, seed=0)
        right: Callable[[Sequence[str]], Iterable[bool]] = lambda texts: map(eq, texts, answers)  # noqa: E731
        prompts = [item.prompt for item in self.items]
        return generated(ensemble, prompts, params, right, combine=combine, schedule=schedule)


@dataclass(frozen=True)
class BitsPerByte(Task):
    """Documents to score.

    The mean score is their negative log-likelihood in bits, divided by their size in bytes of UTF-8.
    """

    items: Sequence[str]
    name: str = "bits-per-byte"
    unit = "bits per byte"
    higher = False

    def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
        """Return the outcome of scoring the documents. The schedule has no effect, because nothing is generated."""
        documents = [contexts(ensemble, document) for document in self.items]
        started = time.perf_counter()
        scored, forwards = log_probabilities(ensemble, [pair for pairs in documents for pair in pairs], combine)
        seconds, tokens, scores = (
            time.perf_counter() - started,
            sum(len(each.token_ids) for each in scored),
            iter(scored),
        )
        bits = tuple(-sum(each.total for each in islice(scores, len(pairs))) / math.log(2) for pairs in documents)
        sizes = tuple(float(len(document.encode())) for document in self.items)
        return Outcome(ensemble.combination(combine).name, bits, seconds, tokens, sizes, forwards)


def contexts(ensemble: Ensemble, document: str) -> list[tuple[str, str]]:
    """Cut a document into pieces. Return one pair (previous piece, piece) per piece. The previous piece is the context.

    White space at a cut belongs to the piece after the cut. At the end of the previous piece, the white space would be
    scored twice.
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
    """Return the lines of a document.

    Lines with `longest` or more characters are cut into words, and long words into pieces.
    """
    lines = re.findall(r"\n*[^\n]+|\n+$", document)
    words = [word for line in lines for word in ([line] if len(line) < longest else re.findall(r"\s*\S+|\s+$", line))]
    return [word[start : start + longest] for word in words for start in range(0, len(word), longest)]
