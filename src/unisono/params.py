"""The sampling parameters of a request. Their values are checked when the object is made."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from unisono.errors import RequestError, require_known
from unisono.values import listed, plain, shown

TEXTS = ("stop", "bad_words")  # fields with texts; a single text is accepted as a list of one text
LARGEST = 1e308  # the largest allowed number, because an integer may be too large for a float
MOST = 1e6  # the largest bias or penalty: far larger than any logit, far smaller than the largest float32
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # may come from a generation config
CONSTRAINT = ("accept", "rollback", "mask", "forced", "copy")  # methods of a constraint
OBJECTS = ("logits_processors", "constraint")  # fields with user-defined objects
LISTS = ("stop", "stop_token_ids", "bad_words", "allowed_token_ids", "logits_processors")


@dataclass(frozen=True)
class SamplingParams:
    """The sampling parameters of one request. Every field can be used with every schedule.

    The fields change the logits in this order: logit_bias; allowed_token_ids, bad_words, min_tokens; repetition,
    presence and frequency penalty; logits_processors; constraint; temperature; top_k; top_p; min_p.

    Raises:
        RequestError: a value is out of its range. The message names the field and the range.
    """

    max_tokens: int = 256
    temperature: float = 1.0  # 0: the most probable token of the combination
    top_k: int = 0  # 0: off
    top_p: float = 1.0  # in (0, 1]; 1: off
    min_p: float = 0.0  # in [0, 1]; 0: off
    n: int = 1  # number of samples; for a given seed, sample i does not depend on n
    # Equal seeds give equal texts in float32, or with deterministic members. None draws a random seed, which the result
    # reports; with `auto` the text then depends on measured times, and the reported seed may give another text
    seed: int | None = None
    stop: str | tuple[str, ...] | list[str] = ()  # texts that end the output
    stop_token_ids: tuple[int, ...] | list[int] = ()
    include_stop: bool = False  # whether the output includes the stop string that ended it
    # False: special tokens are written as text; the token that ended the output is written only if include_stop is set
    skip_special_tokens: bool = True
    ignore_eos: bool = False
    min_tokens: int = 0  # no end token, stop token or stop string ends the output before this length
    repetition_penalty: float = 1.0  # applies to tokens of the first member's prompt and of the output; 1: off
    presence_penalty: float = 0.0  # applies to tokens of the output
    frequency_penalty: float = 0.0  # applies to tokens of the output, once per occurrence
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    bad_words: tuple[str, ...] | list[str] = ()  # texts whose tokens, with or without a space in front, never occur
    allowed_token_ids: tuple[int, ...] | list[int] | None = None  # None: all ids
    logits_processors: tuple[Any, ...] | list[Any] = ()  # of transformers, or functions (ids [1, n], logits [1, V])
    constraint: Any = None  # restricts the text (see unisono.sampling.constraint); each sample uses a copy
    negative_prompt: str | None = None  # for `guidance`: the prompt of the second member
    logprobs: bool = False  # log-probability of each token
    top_logprobs: int = 0  # with logprobs: also the log-probabilities of this many most probable tokens
    prompt_logprobs: bool = False
    logprobs_mode: Literal["raw", "processed"] = "raw"  # raw: at temperature 1, before the fields above change it

    def __post_init__(self) -> None:
        for each in fields(self):
            valid, allowed = RANGES[each.name]
            object.__setattr__(self, each.name, _normal(each.name, getattr(self, each.name)))
            _require(valid(getattr(self, each.name)), each.name, getattr(self, each.name), allowed)
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs=True")
        if self.min_tokens > self.max_tokens:
            raise RequestError(f"min_tokens must be at most max_tokens, not: {self.min_tokens} of {self.max_tokens}")
        if self.prompt_logprobs and self.logprobs_mode == "processed":
            raise RequestError("prompt_logprobs are raw; leave out logprobs_mode='processed'")

    def __hash__(self) -> int:
        # User-defined objects may define `__eq__` without a hash
        values = (getattr(self, each.name) for each in fields(self) if each.name not in OBJECTS)
        return hash(tuple(frozenset(each.items()) if isinstance(each, Mapping) else each for each in values))


def _normal(name: str, value: Any) -> Any:
    """Return a copy of a field's value with numbers of Python's own types and with tuples instead of lists."""
    if name == "logit_bias" and isinstance(value, Mapping):
        return {plain(token): plain(bias) for token, bias in value.items()}
    if name not in LISTS or (name == "allowed_token_ids" and value is None):
        return plain(value)
    elements = [value] if isinstance(value, str) else listed(value)
    _require(elements is not None, name, value, "a list of texts" if name in TEXTS else "a list")
    return tuple(map(plain, elements or ())) if name.endswith("_ids") else tuple(elements or ())


def read_generation_config(choice: str) -> bool:
    """Return whether to use the sampling values in the members' generation configs: True for "auto", False for "off".

    Raises:
        ConfigurationError: `choice` is neither "auto" nor "off".
    """
    require_known("generation_config", [choice], ("auto", "off"))
    return choice == "auto"


def usable(said: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the valid non-default values of a generation config, and one message for each invalid value."""
    wrong = {name: value for name, value in said.items() if not RANGES[name][0](value)}
    found = {
        name: value for name, value in said.items() if name not in wrong and value != getattr(SamplingParams, name)
    }
    return found, [f"{name} must be {RANGES[name][1]}, not: {value!r}; it is not used" for name, value in wrong.items()]


def _integer(least: int, below: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value < below


def _number(valid: Callable[[float], bool] = lambda value: True) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return abs(value) < math.inf and abs(value) <= LARGEST and valid(value)

    return check


def _each(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: all(valid(value) for value in values)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_bias(value: Any) -> bool:
    is_id, is_bias = _integer(0), _number(lambda bias: abs(bias) <= MOST)
    return isinstance(value, Mapping) and all(is_id(token) and is_bias(bias) for token, bias in value.items())


_COUNT = (_integer(0), "an integer, 0 or more")
_PENALTY = (_number(lambda value: abs(value) <= MOST), f"a number in [{-MOST:g}, {MOST:g}]")
_SWITCH = (lambda value: isinstance(value, bool), "True or False")
_TEXTS = (_each(_is_text), "non-empty texts")
_IDS = (_each(_integer(0)), "token ids, 0 or more")

RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (_integer(1), "an integer, at least 1"),
    "temperature": (_number(lambda value: value >= 0), "a finite number, 0 or more"),
    "top_k": (_integer(0), "an integer, 0 (off) or more"),
    "top_p": (_number(lambda value: 0 < value <= 1), "a number in (0, 1]"),
    "min_p": (_number(lambda value: 0 <= value <= 1), "a number in [0, 1]"),
    "n": (_integer(1), "an integer, at least 1"),
    "seed": (lambda value: value is None or _integer(0, 2**64)(value), "an integer in [0, 2**64), or None"),
    "stop": _TEXTS,
    "stop_token_ids": _IDS,
    "include_stop": _SWITCH,
    "skip_special_tokens": _SWITCH,
    "ignore_eos": _SWITCH,
    "min_tokens": _COUNT,
    "repetition_penalty": (_number(lambda value: 1 / MOST <= value <= MOST), f"a number in [{1 / MOST:g}, {MOST:g}]"),
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "logit_bias": (_is_bias, f"a mapping of token ids to numbers in [{-MOST:g}, {MOST:g}]"),
    "bad_words": _TEXTS,
    "allowed_token_ids": (
        lambda value: value is None or (bool(value) and _IDS[0](value)),
        "at least one token id, or None",
    ),
    "logits_processors": (_each(callable), "functions (ids, logits) -> logits"),
    "constraint": (
        lambda value: value is None or all(callable(getattr(value, name, None)) for name in CONSTRAINT),
        f"None or an object with the methods {', '.join(CONSTRAINT)}",
    ),
    "logprobs": _SWITCH,
    "top_logprobs": _COUNT,
    "prompt_logprobs": _SWITCH,
    "negative_prompt": (lambda value: value is None or _is_text(value), "a non-empty text, or None"),
    "logprobs_mode": (lambda value: value in ("raw", "processed"), "'raw' or 'processed'"),
}


def _require(valid: bool, name: str, value: object, allowed: str) -> None:
    if not valid:
        raise RequestError(f"{name} must be {allowed}, not: {shown(value)}")
