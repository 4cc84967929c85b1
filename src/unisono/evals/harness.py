"""A model class of EleutherAI's lm-evaluation-harness that runs an ensemble.

    import unisono.evals.harness  # registers the model "unisono"
    lm_eval.simple_evaluate("unisono", "members=zoo:code-m+zoo:code-n,combine=weighted:0.5;0.5", tasks=["lambada"])

The harness has no plugins, so importing this module registers the class. The class works like the class `hf` of the
harness in two ways. A prompt and its continuation are tokenized together and then split. If a context is too long,
its first tokens are removed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

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

LONGEST = 2048  # tokens of context if no member has a limit
PLAIN = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")  # also in `SamplingParams`

T = TypeVar("T")


@register_model("unisono")
class UnisonoLM(TemplateLM):  # type: ignore[misc]
    """An ensemble as a model of the harness.

    Args:
        ensemble: the ensemble. Give either `ensemble` or `members`.
        members: the names of the members, joined by `+`, for the command line of the harness.
        combine, schedule, verification: the arguments of `Ensemble.generate` with these names. In `combine` write `;`
            instead of `,`, because the harness splits its arguments at commas.
        batch_size: the number of rows.
        max_batch_size: ignored.
        options: options of `Ensemble.load`.
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
            options |= {"rows": int(str(batch_size))} if str(batch_size).isdigit() else {}
            options |= {} if device is None else {"device": device}
            ensemble = Ensemble.load(str(members).split("+"), **options)
        elif options:
            name = next(iter(options))
            raise ConfigurationError(f"{name} is an option of Ensemble.load; the ensemble is loaded already")
        self.ensemble, self.tokenizer = ensemble, ensemble.tokenizer
        if self.tokenizer is None:
            raise ConfigurationError("the harness needs members with a tokenizer")
        combine = combine.replace(";", ",") if isinstance(combine, str) else combine
        self._method: dict[str, Any] = {"combine": combine, "schedule": schedule, "verification": verification}
        ensemble.method(**self._method)  # raises errors of the method before a task is run
        self._chats: set[str] = set()  # texts of conversations; their answers end at the end of a turn
        # Totals of all requests so far
        self.seconds, self.tokens, self.forwards = 0.0, 0, [0 for _ in ensemble.lineup.everyone]

    @property
    def eot_token_id(self) -> int:
        """The id of the end token."""
        found: int = self.tokenizer.eos_token_id
        return found

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without context: the start token, or the end token if there is no start token."""
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else int(start)

    @property
    def max_length(self) -> int:
        """The length in tokens of the longest context that every member accepts."""
        return self.ensemble.lineup.context_length or LONGEST

    @property
    def tokenizer_name(self) -> str:
        """The key under which the harness caches requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as text.

        If the template of the first member refuses system messages, the system messages are left out.

        Raises:
            ConfigurationError: the tokenizer of the first member has no chat template.
        """
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
        """Return the token ids of a text with the tokenizer of the first member.

        `add_special_tokens` says whether special tokens are added. If it is None and the text is not empty, the result
        has the same special tokens as a prompt of the member.
        """
        if string and add_special_tokens is None:
            return self.ensemble.prompts.ids(string)
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens is not False)
        return ids

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return one pair per request: the log-probability of the continuation, and a bool.

        The bool says whether every token of the continuation was the most probable token.

        Raises:
            RequestError: some pairs cannot be split into tokens. The error names these pairs and is raised before any
                forward.
        """
        pairs = (request.args for request in requests)
        found = self._scored([Pair(context, continuation, self.max_length) for context, continuation in pairs])
        return self._cached("loglikelihood", requests, found)

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
        """Return the log-probability of each text. A text is scored in windows of `max_length` tokens.

        Raises:
            RequestError: some texts cannot be split into tokens. The error names these texts and is raised before any
                forward.
        """
        windows = make_all(self._windows, [Pair("", *request.args) for request in requests], "texts")
        scored = iter(self._scored([window for each in windows for window in each]))
        totals = [sum(next(scored)[0] for _ in each) for each in windows]
        return self._cached("loglikelihood_rolling", requests, totals)

    def _cached(self, kind: str, requests: Sequence[Instance], answers: list[T]) -> list[T]:
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial(kind, request.args, answer)
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the continuation of each request up to a stop string. All requests are rows of one batch.

        Raises:
            RequestError: the maximum length of an answer leaves no room for a prompt.
        """
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
        """Return the tokens that end a turn if the context is a conversation, else an empty tuple.

        A context counts as a conversation if `apply_chat_template` made it, or if it contains one of these tokens. The
        second rule is for conversations that the harness cached in an earlier run.
        """
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
        """Return the context. If it has more than `room` tokens for a member, return only its last `room` tokens."""
        if not context:
            return [self.prefix_token_id]
        readings = self.ensemble.prompts.read(context)
        return context if max(len(each.tokens) for each in readings) <= room else readings[0].tokens[-room:]

    def _windows(self, text: Pair) -> list[Pair]:
        """Return the windows in which a text with an empty prompt is scored.

        If the members read different prefixes before the text, no member's prefix is scored.
        """
        prepared = self.ensemble.prompts.prepare(text.continuation)
        tokens = list(prepared.contexts[0].tokens[prepared.prefix :])
        if not tokens:
            raise RequestError("the text has no tokens")
        found = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, context_len=1)
        windows = [Pair(context, target, self.max_length) for context, target in map(make_disjoint_window, found)]
        return [replace(windows[0], prompt=""), *windows[1:]] if prepared.prefixes else windows


def sampling(keywords: Mapping[str, Any]) -> SamplingParams:
    """Return the sampling parameters for the generation keywords of a task.

    Decoding is greedy unless `do_sample` is true.

    Raises:
        RequestError: a keyword is not known.
    """
    given = dict(normalize_gen_kwargs(dict(keywords)))
    if not given.pop("do_sample", None):
        given["temperature"] = 0.0
    until, longest = given.pop("until", []), given.pop("max_gen_toks")
    foreign = [name for name in given if name not in PLAIN]
    if foreign:
        raise RequestError(f"generation keyword of a task that unisono does not know: {foreign[0]!r}; leave it out")
    return SamplingParams(max_tokens=longest, stop=tuple(text for text in until if text), **given)
