"""The facade: text in, a stream of pieces out. Everything a user does goes through here."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, overload

from rich.console import Console
from rich.progress import Progress

from unisono.auto.measurements import Experience
from unisono.combine import Combination
from unisono.decoding.engine import ROWS, Engine
from unisono.decoding.spec import Method, Task
from unisono.errors import RequestError, require_count
from unisono.loading import cache_budget, load_members
from unisono.members.base import Member
from unisono.members.lineup import Lineup
from unisono.methods import Asked, Methods
from unisono.params import SamplingParams
from unisono.request import Request, Scoring, run_all, samples, score_all
from unisono.text.encoder import Chat
from unisono.text.prompts import Pair, Prepared, Prompt, Prompts
from unisono.types import Piece, Result, Score


class Ensemble:
    """Several language models that decode one text.

    Thread-safe: threads may generate and stream at the same time; their requests run as rows of one batch, joining and
    leaving at any step. Each has its own slot in every member, so its text does not depend on what runs beside it.
    """

    def __init__(
        self,
        lineup: Lineup,
        prompts: Prompts,
        combine: object = None,
        schedule: object = "auto",
        verification: str = "auto",
        rows: int = ROWS,
        memory: int | None = None,
    ) -> None:
        require_count("rows", rows, 1)
        require_count("memory", 0 if memory is None else memory, 0)
        self.lineup = lineup
        self.prompts = prompts
        experience = Experience(lineup.parameters)
        self._methods = Methods(lineup, Asked(combine, schedule, verification), experience)
        self._engine = Engine(lineup, rows, cache_budget(lineup) if memory is None else memory, experience)

    @classmethod
    def load(
        cls,
        members: Sequence[object],
        combine: object = None,
        schedule: object = "auto",
        verification: str = "auto",
        rows: int = ROWS,
        memory: int | None = None,
        draft: object = None,
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
            threads: that an operation takes, in all of the process; torch's own number by default (docs/performance.md).
            options: fields of `Source` for every member that does not set them itself, as `dtype="float32"`.

        Raises:
            MemberError: a model cannot be loaded, does not fit in memory, or has another vocabulary.
            ConfigurationError: an option is unknown or does not fit the members.
        """
        loaded = load_members(members, options, drafts=[] if draft is None else [draft], threads=threads)
        return cls(*loaded, combine, schedule, verification, rows, memory)

    def __repr__(self) -> str:
        return f"Ensemble({', '.join(self.names)}; {', '.join(self.method().names.values())})"

    @property
    def tokenizer(self) -> Any:
        """The members' common tokenizer, or None."""
        return self.prompts.tokenizer

    @property
    def members(self) -> list[Member]:
        """The members, in their order; a draft model is the last."""
        return list(self.lineup.members)

    @property
    def names(self) -> list[str]:
        """The members' names, in their order; a draft model's is the last."""
        return self.lineup.names

    @property
    def engine(self) -> Engine:
        """The loop that runs this ensemble's requests, for who steps it himself: see `start`."""
        return self._engine

    def method(
        self,
        params: SamplingParams | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
    ) -> Method:
        """What a call would use (see `methods`). None means the default of this ensemble, and of the parameters."""
        return self._methods.choose(Asked(combine, schedule, verification), params)

    def combination(self, combine: object = None) -> Combination:
        """What a text follows, as a call asks for it; None means the default.

        Raises:
            ConfigurationError: it is unknown, or does not fit the members.
        """
        return self._methods.combination(Asked(combine))

    def stream(
        self,
        prompt: Prompt,
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
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
        progress: bool | None = None,
    ) -> list[Result]:
        """Decode prompts together. Other arguments as for `stream`.

        Args:
            prompts: texts or lists of token ids; a single one is a list of one.
            params: for all prompts, or one per prompt.
            progress: show a bar on standard error; None shows it at a terminal, for several prompts.

        Returns:
            The results of the first prompt (one, or its `n` samples), then those of the next.
        """
        each = self.prompts.split(prompts)
        settings: list[Any] = list(params) if isinstance(params, list | tuple) else [params] * len(each)
        if len(settings) != len(each):
            raise RequestError(f"give one SamplingParams for all prompts or one each: {len(settings)} for {len(each)}")
        asked = Asked(combine, schedule, verification)
        requests = [
            request
            for prompt, setting in zip(each, settings, strict=True)
            for request in self._requests(prompt, setting, asked)
        ]
        console = Console(stderr=True)
        shown = console.is_terminal and len(requests) > 1 if progress is None else progress
        with Progress(console=console, disable=not shown) as bar:
            task = bar.add_task("generating", total=len(requests))
            return run_all(requests, self.engine, lambda: bar.advance(task))

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        params: SamplingParams | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
    ) -> Result:
        """Answer a conversation, written with the first member's chat template. Arguments as for `stream`."""
        asked = Asked(combine, schedule, verification)
        return run_all([self._one(Chat(messages), params, asked)], self.engine)[0]

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation in the first member's chat template, ready to `stream` the answer."""
        return self.prompts.ids(Chat(messages))

    @overload
    def logprobs(self, prompt: str, continuation: str, *, combine: object = None) -> Score: ...

    @overload
    def logprobs(self, prompt: list[str], continuation: list[str], *, combine: object = None) -> list[Score]: ...

    def logprobs(
        self, prompt: str | list[str], continuation: str | list[str], *, combine: object = None
    ) -> Score | list[Score]:
        """Log-probabilities of a continuation under the combined law at temperature 1, without truncation.

        Prompt and continuation are joined and split as lm-evaluation-harness does: they are encoded together, and
        blanks at the prompt's end count to the continuation. Lists of both are scored together, one `Score` per pair.
        """
        if isinstance(prompt, str) and isinstance(continuation, str):
            return self.logprobs([prompt], [continuation], combine=combine)[0]
        if isinstance(prompt, str) or isinstance(continuation, str) or len(prompt) != len(continuation):
            raise RequestError("logprobs takes a prompt and a continuation, or two lists of the same length")
        pairs = [Pair(*pair) for pair in zip(prompt, continuation, strict=True)]
        return score_all(self.scorings(pairs, combine=combine), self._engine)

    def scorings(self, pairs: Sequence[Pair], *, combine: object = None) -> list[Scoring]:
        """Prompts and continuations as rows that score them, for who runs the engine himself.

        Raises:
            RequestError, ConfigurationError: as for `logprobs`.
        """
        combination = self.combination(combine)
        prepared = [self.prompts.prepare(pair, combination=combination) for pair in pairs]
        return [self._scoring(combination, each) for each in prepared]

    def echo(self, prepared: Prepared, top: int = 1, *, combine: object = None) -> Scoring:
        """A row that scores a prompt's own tokens, from the second on.

        Args:
            prepared: the prompt. top: how many of the most probable tokens to report at each position.

        Raises:
            RequestError: the members read different prompts, or the prompt is too long for them or for the caches.
        """
        own = self.prompts.itself(prepared.contexts)
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

    def _requests(self, prompt: Prompt | Chat | Prepared, params: SamplingParams | None, asked: Asked) -> list[Request]:
        params = SamplingParams() if params is None else params
        if not isinstance(params, SamplingParams):
            raise RequestError(f"parameters must be SamplingParams, not: {type(params).__name__}")
        method = self._methods.choose(asked, params)
        if not isinstance(prompt, Prepared):
            prompt = self.prompts.prepare(prompt, params, self._methods.combination(asked))
        task = self._task(prompt, params)
        own = self.echo(prompt, combine=method.combination) if params.prompt_logprobs else None
        return samples(self.lineup, method, task, params, self.tokenizer, own)

    def _task(self, prepared: Prepared, params: SamplingParams) -> Task:
        """What each sample is to decode."""
        ends = frozenset(params.stop_token_ids)
        if not params.ignore_eos:
            ends |= self.lineup.end_ids
        edits = self.prompts.edits(params, ends)
        if self.lineup.warps and not edits.nothing:
            raise RequestError("biases, penalties, masks and processors need members that do not warp by themselves")
        limit = min(params.max_tokens, self.prompts.room(prepared.contexts))
        self.engine.check(prepared.contexts, limit)
        return Task(
            contexts=prepared.contexts,
            warp=prepared.warp,
            limit=limit,
            ends=ends,
            edits=edits,
            logprobs=params.top_logprobs if params.logprobs else None,
            processed=params.logprobs_mode == "processed",
        )

    def _scoring(self, combination: Combination, prepared: Prepared, top: int = 1) -> Scoring:
        self.engine.check(prepared.contexts, len(prepared.units))
        return Scoring(self.lineup, combination, prepared, top)
