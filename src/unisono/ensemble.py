"""The facade: text in, a stream of pieces out. Everything a user does goes through here."""

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
    """Several language models that decode one text.

    Threads may generate and stream at the same time. Their requests run as rows of one batch; each row has its own slot in
    every member, so its text does not depend on other requests. A `with` block closes the ensemble at its end.
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
    def load(  # noqa: PLR0913 - what a user says of an ensemble, by name
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
            members: names, mappings or `Source`s, or loaded transformers models, in the order that weights and draft
                lengths follow; for contrastive combinations the expert first.
            combine: a combination, its text form, or a function; the uniform `weighted` by default.
            schedule: `standard`, `parallel`, `speculative:G`, `cos:G1,G2,...`, `relay:G`, `risky:K`, `lookup:N` or `auto`.
            verification: `token`, `block`, `coupled` or `auto`.
            rows: the most requests that run at the same time; more wait.
            memory: bytes that the members' caches may take together; half of what is free by default.
            draft: one more member that is no part of the combination: it proposes, and the text has the same law.
            proposers: objects that propose tokens without being members (docs/schedules.md); a schedule names them.
            generation_config: "auto": where a call gives no `SamplingParams`, the first member whose generation config has
                sampling values gives those (see `default_params`); "off": none does.
            threads: that an operation takes, in all of the process; torch's own number by default (docs/performance.md).
            options: of every member that does not set them itself, as `dtype="float32"`: fields of `Source` and
                of `members.hf.options.Options` (docs/members.md lists them).

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
        """End all requests with RequestError, which new ones raise too, and free the caches. Weights are freed by Python."""
        self.engine.close()

    def __repr__(self) -> str:
        return f"Ensemble({', '.join(self.names)}; {', '.join(self.method().names.values())})"

    @property
    def members(self) -> list[Member]:
        """The members, in their order; a draft model is the last."""
        return list(self.lineup.members)

    @property
    def names(self) -> list[str]:
        """The members' names, in the same order."""
        return self.lineup.names

    @property
    def tokenizer(self) -> Any:
        """The members' common tokenizer, or None."""
        return self.prompts.tokenizer

    @property
    def default_params(self) -> SamplingParams:
        """What a call has that gives none: temperature, top_k, top_p, min_p and repetition_penalty may be a member's own.

        `SamplingParams` that you make are taken as they are; `dataclasses.replace` of this builds on it.
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
        """What a call would use (see `methods`). None means the default of this ensemble, and of the parameters."""
        return self._methods.choose(Asked(combine, schedule, verification), self._params(params))

    def combination(self, combine: object = None) -> Combination:
        """What a text follows, as a call asks for it; None means the default.

        Raises:
            ConfigurationError: it is unknown, or does not fit the members.
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
        """Decode one prompt; yields a piece per token, then a last one with the whole result.

        Closing the iterator cancels the request. Arguments other than the prompt override the ensemble's defaults.

        Raises:
            RequestError, ConfigurationError: at the call, not at the first piece.
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
        """Decode prompts together. Other arguments as for `stream`.

        Args:
            prompts: texts, lists of token ids or `Chat`s; a single one is a list of one. Arrays and the like are lists: one
                row of ids is one prompt, [n, length] is n prompts.
            params: for all prompts, or one per prompt.
            progress: show a bar on standard error; None shows it at a terminal, for several prompts.
            on_error: `return`: the error of a request, refused ones included, stands in the list at its place, `n` times, and
                the others go on. `raise`: the first error ends all; it has `results`, as an interrupt has: the list, with
                None where nothing was finished.

        Returns:
            The results of the first prompt (one, or its `n` samples), then those of the next.
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
        """Answer a conversation, written with a chat template. Arguments as for `stream`; options are fields of `Chat`."""
        chat = Chat(messages, **options)
        return self._one(chat, params, Asked(combine, schedule, verification)).run(self.engine)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """Token ids of a `Chat`, whose fields the options are; `stream(Chat(...))` also ends where the answer's turn does."""
        return self.prompts.ids(Chat(messages, **options))

    @overload
    def logprobs(self, prompt: Several, continuation: Several, *, combine: object = None) -> list[Score]: ...

    @overload
    def logprobs(self, prompt: Prompt, continuation: Prompt, *, combine: object = None) -> Score: ...

    def logprobs(
        self, prompt: Prompt | Several, continuation: Prompt | Several, *, combine: object = None
    ) -> Score | list[Score]:
        """Log-probabilities of a continuation under the combined law at temperature 1, without truncation.

        Texts are joined and split as lm-evaluation-harness does: they are encoded together, and blanks at the prompt's
        end count to the continuation. Token ids are read as given. One text or one list of ids each gives one `Score`;
        lists of texts, and lists of lists of ids, are scored together and give one `Score` per pair. A pair that leaves
        nothing to score is a RequestError, before any forward.
        """
        (prompts, one), (continuations, also) = self.prompts.split(prompt), self.prompts.split(continuation)
        if one is not also or len(prompts) != len(continuations):
            raise RequestError("logprobs takes a prompt and a continuation, or two lists of the same length")
        pairs = [Pair(*pair) for pair in zip(prompts, continuations, strict=True)]
        scores = score_all(self.scorings(pairs, combine=combine), self.engine)
        return scores[0] if one else scores

    def scorings(self, pairs: Sequence[Pair], *, combine: object = None) -> list[Scoring]:
        """Prompts and continuations as rows that score them, for who runs the engine himself.

        Raises:
            RequestError, ConfigurationError: as for `logprobs`.
        """
        self.engine.require_open()
        combination, prepare = self.combination(combine), self.prompts.prepare
        return make_all(lambda pair: self._scoring(combination, prepare(pair, None, combination)), pairs, "pairs")

    def echo(self, prepared: Prepared, top: int = 1, *, combine: object = None) -> Scoring:
        """A row that scores a prompt's own tokens: those behind the members' prefixes, from the second on if one has none.

        At each position it reports the `top` most probable tokens too.

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
        """The `n` samples of one prompt as requests that have passed every check, for who runs the engine himself.

        Submit each request's `row` to `engine`, step it, and `drain` the request for what it yields.

        Raises:
            RequestError, ConfigurationError: as for `stream`.
        """
        return self._requests(prompt, params, Asked(combine, schedule, verification))

    def _one(self, prompt: Prompt | Chat, params: SamplingParams | None, asked: Asked) -> Request:
        """The only sample of a prompt."""
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
