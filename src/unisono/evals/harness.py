"""The model class for EleutherAI's lm-evaluation-harness: an ensemble behind the harness's three questions.

    import unisono.evals.harness  # registers the model "unisono"
    lm_eval.simple_evaluate("unisono", "members=zoo:code-m+zoo:code-n,combine=weighted:0.5;0.5", tasks=["lambada"])

The installed harness has no plugins, so the class is registered by being imported. Texts are joined and split as the
harness's own `hf` class does, and contexts that are too long lose their beginning, as there.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError, RequestError, make_all
from unisono.evals.likelihood import scorings
from unisono.params import SamplingParams
from unisono.text.prompts import Pair, Prompt
from unisono.types import Stats

LONGEST = 2048  # tokens of context where no member says
PLAIN = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")  # keywords that mean the same here


@register_model("unisono")
class UnisonoLM(TemplateLM):  # type: ignore[misc]
    """An ensemble as a model of the harness.

    Args:
        ensemble: the ensemble; or, from the harness's command line, `members`: names joined by `+`.
        combine, schedule, verification: as for `Ensemble.generate`; in `combine`, `;` may stand for `,`, at which the
            harness splits its arguments.
        options: `batch_size` and `device` as the harness passes them, and options of `Ensemble.load`.
    """

    def __init__(
        self,
        ensemble: Ensemble | None = None,
        members: str | None = None,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if (ensemble is None) == (members is None):
            raise ConfigurationError("give the harness's model an ensemble or members=A+B, one of the two")
        if ensemble is None:
            if str(batch_size).isdigit():
                options["rows"] = int(str(batch_size))
            if device is not None:
                options["device"] = device
            ensemble = Ensemble.load(str(members).split("+"), **options)
        elif options:
            raise ConfigurationError(
                f"{next(iter(options))} is an option of Ensemble.load; the ensemble is loaded already"
            )
        self.ensemble = ensemble
        self.tokenizer = ensemble.tokenizer
        if self.tokenizer is None:
            raise ConfigurationError("the harness needs members with a tokenizer")
        combine = combine.replace(";", ",") if isinstance(combine, str) else combine
        self._method: dict[str, Any] = {"combine": combine, "schedule": schedule, "verification": verification}
        ensemble.method(**self._method)  # mistakes are said before anything is run
        self._chats: set[str] = set()  # texts of conversations, whose answers end where a turn does
        # What all requests so far took
        self.seconds, self.tokens, self.forwards = 0.0, 0, [0 for _ in ensemble.lineup.everyone]

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text; it stands in front of a text without context if there is no other."""
        found: int = self.tokenizer.eos_token_id
        return found

    @property
    def prefix_token_id(self) -> int:
        """What a text without context follows."""
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else int(start)

    @property
    def max_length(self) -> int:
        """Tokens that fit into every member."""
        return self.ensemble.lineup.context_length or LONGEST

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text, by the first member's template; system messages that it refuses are left out."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise ConfigurationError(
                "the first member's tokenizer has no chat template; leave out --apply_chat_template"
            )
        text = self.ensemble.prompts.template.write(
            chat_history, opening=add_generation_prompt, continued=not add_generation_prompt, system=False
        )
        self._chats.add(text)
        return text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:
        """Token ids, as the first member reads the text; or with what its tokenizer adds, or without."""
        if string and add_special_tokens is None:
            return self.ensemble.prompts.ids(string)
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens is not False)
        return ids

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probabilities of continuations, and whether each token was the most probable one.

        Raises:
            RequestError: before any forward; it names the pairs that cannot be split into tokens.
        """
        texts = [request.args for request in requests]
        found = self._scored([Pair(context, continuation, self.max_length) for context, continuation in texts])
        for request, answer in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: object
    ) -> list[tuple[float, bool]]:
        return self._scored([Pair(context, target, self.max_length) for _, context, target in requests])

    def _scored(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        started, found = time.perf_counter(), []
        for scoring in scorings(self.ensemble, pairs, self._method):
            scored = scoring.score()
            self._count(scoring.row.stats)
            found.append((scored.total, scored.is_greedy))
        self.seconds += time.perf_counter() - started
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of whole texts, in windows that are as long as possible. Raises as `loglikelihood`."""
        windows = make_all(self._windows, [Pair("", *request.args) for request in requests], "texts")
        scored = iter(self._scored([window for each in windows for window in each]))
        totals = [sum(next(scored)[0] for _ in each) for each in windows]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to a stop string; all requests are rows of one batch."""
        prompts, params = [], []
        for request in requests:
            context, keywords = request.args
            setting = sampling(keywords)
            room = self.max_length - setting.max_tokens
            if room < 1:
                raise RequestError(
                    f"max_gen_toks {setting.max_tokens} leaves no room for a prompt in a context of {self.max_length}; lower it"
                )
            prompts.append(self._end(context, room))
            params.append(replace(setting, stop_token_ids=self._turn_ends(context)))
        started = time.perf_counter()
        results = self.ensemble.generate(prompts, params, progress=not disable_tqdm and None, **self._method)
        self.seconds += time.perf_counter() - started
        for result in results:
            self._count(result.stats)
        return [result.text for result in results]

    def _turn_ends(self, context: str) -> tuple[int, ...]:
        """What ends the answer of a conversation: of one written here, or in an earlier run whose requests the harness kept."""
        own = getattr(self.tokenizer, "chat_template", None)
        if not own or (isinstance(own, dict) and "default" not in own):
            return ()
        ends = tuple(self.ensemble.prompts.turn_ends())
        written = any(name in context for name in self.tokenizer.convert_ids_to_tokens(ends))
        return ends if written or context in self._chats else ()

    def _count(self, stats: Stats) -> None:
        self.tokens += stats.tokens
        self.forwards = [count + member.forwards for count, member in zip(self.forwards, stats.members, strict=True)]

    def _end(self, context: str, room: int) -> Prompt:
        """A prompt; the last tokens of one that is too long for some member. Such a cut takes every prefix away."""
        if not context:
            return [self.prefix_token_id]
        readings = self.ensemble.prompts.read(context)
        return context if max(len(each.tokens) for each in readings) <= room else readings[0].tokens[-room:]

    def _windows(self, text: Pair) -> list[Pair]:
        """A text behind an empty prompt -> its windows. If the members' prefixes differ, they are not scored."""
        prepared = self.ensemble.prompts.prepare(text.continuation)
        tokens = list(prepared.contexts[0].tokens[prepared.prefix :])
        if not tokens:
            raise RequestError("the text has no tokens")
        found = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, context_len=1)
        windows = [Pair(context, target, self.max_length) for context, target in map(make_disjoint_window, found)]
        return [replace(windows[0], prompt=""), *windows[1:]] if prepared.prefixes else windows


def sampling(keywords: Mapping[str, Any]) -> SamplingParams:
    """A task's generation keywords as sampling parameters; greedy unless it asks to sample.

    Raises:
        RequestError: a keyword has no meaning here.
    """
    given = dict(normalize_gen_kwargs(dict(keywords)))
    sampled = given.pop("do_sample", None)
    if not sampled:  # the harness leaves the temperature out where a task says nothing of sampling
        given["temperature"] = 0.0
    until, longest = given.pop("until", []), given.pop("max_gen_toks")
    foreign = [name for name in given if name not in PLAIN]
    if foreign:
        raise RequestError(f"generation keyword of a task that unisono does not know: {foreign[0]!r}; leave it out")
    return SamplingParams(max_tokens=longest, stop=tuple(text for text in until if text), **given)
