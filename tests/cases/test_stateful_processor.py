"""A logits processor that remembers is refused by what it does; one that does not is asked as often as anybody likes."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.generation import logits_process

from tests import tiny
from unisono import Ensemble, RequestError, SamplingParams
from unisono.sampling.processors import Watched

PROMPT = [5, 17, 33]
FORCED = 7


def models(count: int) -> tuple[Any, ...]:
    return tiny.models("llama", count, num_hidden_layers=1)


def params(*processors: Any, **sampling: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 12, "temperature": 0, **sampling}, logits_processors=processors)


def forced(logits: Tensor) -> Tensor:
    logits.fill_(-1e9)
    logits[:, FORCED] = 0
    return logits


class AfterTen:
    """Forces a token from its eleventh call on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        self.calls += 1
        return forced(logits) if self.calls > 10 else logits


class Budget:
    """Forbids a token after it was seen twice, and takes what it is given last for the next token."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        self.seen[int(ids[0, -1])] = self.seen.get(int(ids[0, -1]), 0) + 1
        logits[:, [token for token, times in self.seen.items() if times > 1]] = -torch.inf
        return logits


class Matcher:
    """As xgrammar's class: the first call makes a matcher; each further one advances it by the last token, or fails."""

    def __init__(self) -> None:
        self.accepted: list[int] | None = None

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        if self.accepted is None:
            self.accepted = []
        else:
            assert self._accepts(int(ids[0, -1]))
        logits[:, 1 - len(self.accepted) % 2 :: 2] = -torch.inf  # even and odd tokens in turns
        return logits

    def _accepts(self, token: int) -> bool:
        assert self.accepted is not None
        self.accepted.append(token)
        return token % 2 != len(self.accepted) % 2


class Noisy:
    """Adds numbers of a generator of its own."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        return logits + torch.randn(logits.shape, generator=self.generator)


def dropout(ids: Tensor, logits: Tensor) -> Tensor:
    return torch.where(torch.rand_like(logits) < 0.3, -torch.inf, logits)


def dice(ids: Tensor, logits: Tensor) -> Tensor:
    return logits * random.random()


ENSEMBLES: dict[str, Callable[[], tuple[Ensemble, str]]] = {
    "one": lambda: (tiny.ensemble(models(1)), "standard"),
    "two": lambda: (tiny.ensemble(models(2)), "standard"),
    "draft": lambda: (tiny.ensemble(models(1), draft={"model": models(2)[1]}), "relay:4"),
    "cos": lambda: (tiny.ensemble(models(2)), "cos:2,2"),
}


@pytest.mark.parametrize("kind", ENSEMBLES)
@pytest.mark.parametrize("made", [AfterTen, Budget, Matcher, Noisy])
def test_state_is_found(kind: str, made: type):
    """Whoever asks and how often: one line with the class and the reason."""
    ensemble, schedule = ENSEMBLES[kind]()
    with pytest.raises(RequestError, match=f"logits processor {made.__name__} .*(keeps state|earlier calls)") as caught:
        ensemble.generate([PROMPT], params(made()), schedule=schedule)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("process", [dropout, dice])
def test_chance_is_named(process: Any):
    with pytest.raises(RequestError, match=f"logits processor {process.__name__} draws random numbers"):
        tiny.ensemble(models(1)).generate([PROMPT], params(process, max_tokens=1), schedule="standard")


def test_a_single_token_is_not_returned_either():
    """The last question comes before the result: here the second call shows what the first did not."""
    late = AfterTen()
    late.calls = 9
    with pytest.raises(RequestError, match="AfterTen keeps state"):
        tiny.ensemble(models(1)).generate([PROMPT], params(late, max_tokens=1))


def test_it_ends_a_stream_too():
    """After the tokens that came before it was found out."""
    pieces: list[Any] = []
    stream = tiny.ensemble(models(1)).stream(PROMPT, params(AfterTen()), schedule="standard")
    with pytest.raises(RequestError, match="AfterTen"):
        pieces += iter(lambda: next(stream), None)
    assert pieces


GUIDED: dict[str, Callable[[], Any]] = {
    "ClassifierFreeGuidanceLogitsProcessor": lambda: transformers.ClassifierFreeGuidanceLogitsProcessor(1.5),
    "DiaClassifierFreeGuidanceLogitsProcessor": lambda: logits_process.DiaClassifierFreeGuidanceLogitsProcessor(1.5),
    "DiaEOSDelayPatternLogitsProcessor": lambda: logits_process.DiaEOSDelayPatternLogitsProcessor([0, 2], 1, 30),
    "SynthIDTextWatermarkLogitsProcessor": lambda: transformers.SynthIDTextWatermarkLogitsProcessor(
        3, [1, 2, 3], 64, 0, 16, torch.device("cpu"), skip_first_ngram_calls=True
    ),
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": lambda: transformers.UnbatchedClassifierFreeGuidanceLogitsProcessor(
        1.5, models(1)[0]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GUIDED)
def test_classes_of_transformers(name: str):
    """Those that remember, and those that want more rows than one."""
    with pytest.raises(RequestError, match=f"logits processor {name} (raised|keeps state)") as caught:
        tiny.ensemble(models(2)).generate([PROMPT], params(GUIDED[name](), temperature=1, seed=1))
    assert "\n" not in str(caught.value)


class InPlace:
    """A function of what it is given, that writes into both and always returns one and the same tensor."""

    def __init__(self) -> None:
        self.kept = torch.empty(0)

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        token = int(ids.sum()) % logits.shape[-1]
        ids.zero_()
        logits[:, token] += 9
        if not len(self.kept):
            self.kept = logits
        return self.kept.copy_(logits)


def pure(ids: Tensor, logits: Tensor) -> Tensor:
    return logits + 9.0 * (torch.arange(logits.shape[-1]) == int(ids.sum()) % logits.shape[-1])


def unsure(ids: Tensor, logits: Tensor) -> Tensor:
    """Not a number for a token that another processor forbids."""
    return torch.where(torch.arange(logits.shape[-1]) == FORCED, torch.nan, logits)


@pytest.mark.parametrize("schedule", ["standard", "cos:2,2", "parallel"])
def test_one_without_state_is_shared_by_rows(schedule: str):
    """Eight rows and their samples, unequal prompts: no false alarm, and the text of a plain function."""
    ensemble, shared = tiny.ensemble(models(2)), InPlace()
    prompts = [[*PROMPT, index] * (1 + index) for index in range(8)]
    texts = [
        [
            each.token_ids
            for each in ensemble.generate(prompts, params(process, n=2, temperature=1, seed=3), schedule=schedule)
        ]
        for process in (shared, pure)
    ]
    assert texts[0] == texts[1]


def test_numbers_that_are_none_equal_themselves():
    ids, logits = torch.tensor([PROMPT]), torch.zeros(1, 20)
    watched = Watched(unsure)
    assert watched(ids, logits).isnan().any()
    watched.check()


@pytest.mark.parametrize("made", [AfterTen, Budget, Matcher])
def test_rows_that_share_one_with_state(made: type):
    """The rows that saw it change are refused, so the call is."""
    prompts = [[*PROMPT, index] for index in range(8)]
    with pytest.raises(RequestError, match=f"logits processor {made.__name__} .*(keeps state|earlier calls)"):
        tiny.ensemble(models(1)).generate(prompts, params(made()))


def failing(error: BaseException) -> Callable[[Tensor, Tensor], Tensor]:
    def process(ids: Tensor, logits: Tensor) -> Tensor:
        if ids.shape[1] > 5:
            raise error
        return logits

    return process


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError(), "raised AssertionError; "),
        (KeyError("a\nb"), r"raised KeyError: 'a\\nb'"),
        (ValueError("a\nb"), "a b"),
    ],
)
def test_errors_of_its_own_are_one_line(error: Exception, said: str):
    with pytest.raises(RequestError, match=said) as caught:
        tiny.ensemble(models(1)).generate([PROMPT], params(failing(error)))
    assert "failing.<locals>.process" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_is_none(error: BaseException):
    with pytest.raises(type(error)):
        tiny.ensemble(models(1)).generate([PROMPT], params(failing(error)))


def test_how_often_it_is_asked():
    """Again after 1, 2, 4, 8 further questions, and at the end: always the first tokens and logits."""
    asked: list[tuple[Sequence[int], float]] = []

    def process(ids: Tensor, logits: Tensor) -> Tensor:
        asked.append((ids[0].tolist(), float(logits[0, 0])))
        return logits.mul_(2)

    watched = Watched(process)
    for length in range(12):
        watched(torch.tensor([[3] * (length + 1)]), torch.full((1, 4), float(length)))
    watched.check()
    first = ([3], 0.0)
    again = [index for index, each in enumerate(asked) if index and each == first]
    assert again == [2, 4, 7, 12, 16]
    assert len(asked) == 12 + 5
