"""The main interface of the library: load members, generate text, stream text, score text."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, Self, overload

from unisono.auto.policy import Auto
from unisono.batch import Batch
from unisono.combine import Combination
from unisono.decoding.engine import ROWS, Engine
from unisono.decoding.spec import Method
from unisono.errors import RequestError, make_all, require_count
from unisono.loading import cache_budget, load_members, with_proposers
from unisono.members.base import Member
from unisono.members.lineup import Lineup
from unisono.methods import Asked, Methods
from unisono.params import SamplingParams
from unisono.request import Request, Scoring, samples, score_all, task_of
from unisono.text.encoder import Chat
from unisono.text.prompts import Pair, Prepared, Prompt, Prompts
from unisono.types import Piece, Result, Score

Several = list[str] | list[list[int]]


class Ensemble:
    """Several language models that decode one text together.

    Several threads may generate and stream at the same time. Their requests run as rows of one batch. The text of a row
    does not depend on other requests. A `with` block closes the ensemble at its end.
    """

    def __init__(
        self,
        lineup: Lineup,
        prompts: Prompts,
        combine: object = None,
        schedule: object = "auto",
        verification: object = "auto",
        rows: int = ROWS,
        memory: int | None = None,
    ) -> None:
        memory = cache_budget(lineup) if memory is None else require_count("memory", memory, 0)
        self.lineup, self.prompts, auto = lineup, prompts, Auto(lineup.parameters, lineup.twins)
        self.engine = Engine(lineup, require_count("rows", rows, 1), memory)
        self.engine.listen(auto)
        self._methods = Methods(lineup, Asked(combine, schedule, verification), auto)

    @classmethod
    def load(  # noqa: PLR0913 - options of an ensemble, passed by name
        cls,
        members: Sequence[object],
        combine: object = None,
        schedule: object = "auto",
        verification: str = "auto",
        rows: int = ROWS,
        memory: int | None = None,
        draft: object = None,
        proposers: Sequence[Any] = (),
        generation_config: str = "auto",
        threads: int | None = None,
        **options: Any,
    ) -> "Ensemble":
        """Load members and check that they can be combined.

        Args:
            members: names, mappings, `Source`s or transformers models. Weights and draft lengths use this order.
                Contrastive combinations take the first member as the expert.
            combine: a combination, its name with parameters, or a function; `weighted` with equal weights by default.
            schedule: `standard`, `parallel`, `speculative:G`, `cos:G1,G2,...`, `relay:G`, `risky:K`, `lookup:N` or `auto`.
            verification: `token`, `block`, `coupled` or `auto`.
            rows: the maximum number of requests that run at the same time; further requests wait.
            memory: the maximum size of all KV caches together, in bytes; half of the free memory by default.
            draft: a draft model. This additional member only proposes and does not change the law of the text.
            proposers: further proposers that are not members (docs/schedules.md). A schedule refers to them by name.
            generation_config: "auto": calls without `SamplingParams` use the sampling values of a generation config: the
                first one that has sampling values (see `default_params`). "off": generation configs are ignored.
            threads: the number of torch threads in the process; torch's default if None (docs/performance.md).
            options: defaults for all members, for example `dtype="float32"`: fields of `Source` and of
                `members.hf.options.Options` (see docs/members.md). A member's own value has priority.

        Raises:
            MemberError: a model cannot be loaded, does not fit in memory, or has another vocabulary.
            ConfigurationError: an option is unknown or does not fit the members.
        """
        lineup, prompts = load_members(members, options, None, draft, generation_config, threads)
        return cls(with_proposers(lineup, proposers), prompts, combine, schedule, verification, rows, memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all requests with RequestError, refuse new requests, and free the caches. The weights stay loaded."""
        self.engine.close()

    def __repr__(self) -> str:
        return f"Ensemble({', '.join(self.names)}; {', '.join(self.method().names.values())})"

    @property
    def members(self) -> list[Member]:
        """The members in the order of loading, with the draft model last."""
        return list(self.lineup.members)

    @property
    def names(self) -> list[str]:
        """The names of the members, in the order of `members`."""
        return self.lineup.names

    @property
    def tokenizer(self) -> Any:
        """The common tokenizer of the members, or None."""
        return self.prompts.tokenizer

    @property
    def default_params(self) -> SamplingParams:
        """The parameters of calls without `params`. Some values may be from a member's generation config.

        A call with `params` uses none of these values. To change single values, use `dataclasses.replace`.
        """
        return SamplingParams(**self.lineup.sampling)

    def method(
        self,
        params: SamplingParams | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
    ) -> Method:
        """Return the method that a call with these arguments would use. None means the default of this ensemble."""
        return self._methods.choose(Asked(combine, schedule, verification), self._params(params))

    def combination(self, combine: object = None) -> Combination:
        """Return the combination for an object, a function or a name with parameters. None means the default.

        Raises:
            ConfigurationError: the combination is unknown, or does not fit the members.
        """
        return self._methods.combination(Asked(combine))

    def stream(
        self,
        prompt: Prompt | Chat,
        params: SamplingParams | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
    ) -> Generator[Piece, None, None]:
        """Decode one prompt. Yield one piece per token, then a final piece with the whole result.

        Closing the iterator cancels the request. Arguments other than the prompt override the ensemble's defaults.

        Raises:
            RequestError, ConfigurationError: an argument is wrong. `stream` raises before it returns the iterator.
        """
        return self._one(prompt, params, Asked(combine, schedule, verification)).stream(self.engine)

    def generate(
        self,
        prompts: Prompt | Chat | Sequence[Prompt | Chat],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
        progress: bool | None = None,
        on_error: Literal["raise", "return"] = "raise",
    ) -> list[Result]:
        """Decode prompts together. `combine`, `schedule` and `verification` have the same meaning as in `stream`.

        Args:
            prompts: texts, lists of token ids or `Chat`s, or a single prompt. Arrays are treated as lists: an array
                [length] is one prompt, an array [n, length] is n prompts.
            params: one object for all prompts, or a list with one object per prompt.
            progress: whether to show a progress bar on standard error; None shows it for several prompts at a terminal.
            on_error: `return`: each failed sample has its error in the list (`n` errors for a refused prompt). `raise`:
                the first exception ends all samples. Its attribute `results` has None for unfinished samples.

        Returns:
            The `n` results of the first prompt, then the results of the second prompt, and so on.
        """
        asked, batch = Asked(combine, schedule, verification), Batch(self.prompts.split(prompts)[0], params, on_error)
        return batch.run(lambda prompt, own, index: self._requests(prompt, own, asked, index), self.engine, progress)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
        **options: Any,
    ) -> Result:
        """Return the answer to a conversation. `options` are fields of `Chat`. See `stream` for the other arguments."""
        chat = Chat(messages, **options)
        return self._one(chat, params, Asked(combine, schedule, verification)).run(self.engine)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """Return the token ids of `Chat(messages, **options)`.

        To generate an answer, prefer `stream(Chat(...))`, which also ends the text at the end of the answer's turn.
        """
        return self.prompts.ids(Chat(messages, **options))

    @overload
    def logprobs(self, prompt: Several, continuation: Several, *, combine: object = None) -> list[Score]: ...

    @overload
    def logprobs(self, prompt: Prompt, continuation: Prompt, *, combine: object = None) -> Score: ...

    def logprobs(
        self, prompt: Prompt | Several, continuation: Prompt | Several, *, combine: object = None
    ) -> Score | list[Score]:
        """Return the log-probabilities of a continuation under the combination at temperature 1, without truncation.

        Texts are encoded as in lm-evaluation-harness: prompt and continuation are encoded together, and whitespace at
        the end of the prompt belongs to the continuation. Token ids are used unchanged. For one text or one list of
        ids, the result is one `Score`. For lists of texts or of lists of ids, all pairs are scored together and the
        result has one `Score` per pair. A pair without a token to score raises RequestError before any forward pass.
        """
        (prompts, one), (continuations, also) = self.prompts.split(prompt), self.prompts.split(continuation)
        if one is not also or len(prompts) != len(continuations):
            raise RequestError("logprobs takes a prompt and a continuation, or two lists of the same length")
        pairs = [Pair(*pair) for pair in zip(prompts, continuations, strict=True)]
        scores = score_all(self.scorings(pairs, combine=combine), self.engine)
        return scores[0] if one else scores

    def scorings(self, pairs: Sequence[Pair], *, combine: object = None) -> list[Scoring]:
        """Return one scoring per pair of prompt and continuation, for callers that run the engine themselves.

        Raises:
            RequestError, ConfigurationError: see `logprobs`.
        """
        self.engine.require_open()
        combination, prepare = self.combination(combine), self.prompts.prepare
        return make_all(lambda pair: self._scoring(combination, prepare(pair, None, combination)), pairs, "pairs")

    def echo(self, prepared: Prepared, top: int = 1, *, combine: object = None) -> Scoring:
        """Return a scoring of the prompt's own tokens, with the `top` most probable tokens at each position.

        If some member reads no token before the prompt, the first token of the prompt is not scored.

        Raises:
            RequestError: the members read different prompts, or the prompt is too long for them or for the caches.
        """
        own = self.prompts.itself(prepared)
        if own is None:
            raise RequestError("log-probabilities of a prompt need members that read the same prompt")
        return self._scoring(self.combination(combine), own, top)

    def start(
        self,
        prompt: Prompt | Chat | Prepared,
        params: SamplingParams,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
    ) -> list[Request]:
        """Check the arguments. Return `params.n` requests, one per sample, for callers that run the engine themselves.

        Call `engine.submit(*request.rows)` once. After each `engine.step()`, `request.drain()` returns the new pieces.

        Raises:
            RequestError, ConfigurationError: see `stream`.
        """
        return self._requests(prompt, params, Asked(combine, schedule, verification))

    def _one(self, prompt: Prompt | Chat, params: SamplingParams | None, asked: Asked) -> Request:
        if isinstance(params, SamplingParams) and params.n > 1:
            raise RequestError(f"n must be 1 here, not: {params.n}; generate returns several samples")
        return self._requests(prompt, params, asked)[0]

    def _requests(
        self, prompt: Prompt | Chat | Prepared, params: SamplingParams | None, asked: Asked, index: int = 0
    ) -> list[Request]:
        params, text = self._params(params), prompt if isinstance(prompt, str) else None
        method = self._methods.choose(asked, params)
        if not isinstance(prompt, Prepared):
            prompt = self.prompts.prepare(prompt, params, self._methods.combination(asked))
        task = task_of(self.lineup, self.prompts, prompt, params)
        self.engine.check(prompt.contexts, task.limit)
        own = self.echo(prompt, combine=method.combination) if params.prompt_logprobs else None
        given = {"prompt": task.prompt if text is None else text, "index": index}
        return samples(self.lineup, method, task, params, self.tokenizer, own, given)

    def _params(self, given: SamplingParams | None) -> SamplingParams:
        params = self.default_params if given is None else given
        if not isinstance(params, SamplingParams):
            raise RequestError(f"parameters must be SamplingParams, not: {type(params).__name__}")
        return params

    def _scoring(self, combination: Combination, prepared: Prepared, top: int = 1) -> Scoring:
        self.engine.check(prepared.contexts, len(prepared.units))
        return Scoring(self.lineup, combination, prepared, top)
