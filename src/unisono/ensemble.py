"""The facade: text in, a stream of pieces out. Everything a user does goes through here."""

import secrets
from collections.abc import Generator, Mapping, Sequence
from typing import Any, overload

from rich.console import Console
from rich.progress import Progress

from unisono.auto.measurements import Experience
from unisono.decoding.engine import ROWS, Engine
from unisono.decoding.spec import Method, Task
from unisono.errors import RequestError, require_count
from unisono.loading import cache_budget, load_members
from unisono.members.hf.member import HFMember
from unisono.methods import choose
from unisono.params import SamplingParams
from unisono.request import Request, Scoring, run_all, score_all
from unisono.sampling.warp import Warp
from unisono.text.prompts import Prompt, Prompts
from unisono.text.transcript import Transcript
from unisono.types import Piece, Result, Score


class Ensemble:
    """Several language models that decode one text.

    Thread-safe: threads may generate and stream at the same time; their requests run as rows of one batch, joining and
    leaving at any step. Each has its own slot in every member, so its text does not depend on what runs beside it.
    """

    def __init__(
        self,
        members: Sequence[HFMember],
        prompts: Prompts,
        combine: object = None,
        schedule: object = "auto",
        verification: str = "auto",
        rows: int = ROWS,
        memory: int | None = None,
        drafts: int = 0,
    ) -> None:
        require_count("rows", rows, 1)
        require_count("memory", 0 if memory is None else memory, 0)
        self.members = list(members)
        self.prompts = prompts
        self._drafts = drafts
        self._defaults = {"combine": combine, "schedule": schedule, "verification": verification}
        self._experience = Experience([member.parameters for member in self.members])
        self.method()  # whatever is wrong with the defaults is said now
        budget = cache_budget(self.members) if memory is None else memory
        self._engine = Engine(self.members, rows, budget, self._experience)

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
            options: fields of `Source` for every member that does not set them itself, as `dtype="float32"`.

        Raises:
            MemberError: a model cannot be loaded, does not fit in memory, or has another vocabulary.
            ConfigurationError: an option is unknown or does not fit the members.
        """
        loaded = load_members(members, options, drafts=[] if draft is None else [draft])
        return cls(*loaded, combine, schedule, verification, rows, memory, int(draft is not None))

    def __repr__(self) -> str:
        return f"Ensemble({', '.join(self.names)}; {', '.join(self.method().names.values())})"

    @property
    def tokenizer(self) -> Any:
        """The members' common tokenizer, or None."""
        return self.prompts.tokenizer

    @property
    def names(self) -> list[str]:
        """The members' names, in their order; a draft model's is the last."""
        return [member.name for member in self.members]

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
        """What a call would use (see `choosing`). None means the default of this ensemble, and of the parameters."""
        given = {"combine": combine, "schedule": schedule, "verification": verification}
        chosen = {key: self._defaults[key] if value is None else value for key, value in given.items()}
        sizes = [member.parameters for member in self.members]
        return choose(sizes, params or SamplingParams(), **chosen, drafts=self._drafts, experience=self._experience)

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
        (request,) = self._requests(
            prompt, params, {"combine": combine, "schedule": schedule, "verification": verification}
        )
        return request.stream(self.engine)

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
        method = {"combine": combine, "schedule": schedule, "verification": verification}
        requests = [
            request
            for prompt, setting in zip(each, settings, strict=True)
            for request in self._requests(prompt, setting, method, several=True)
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
        method = {"combine": combine, "schedule": schedule, "verification": verification}
        return run_all(self._requests(self.prompts.chat(messages), params, method), self.engine)[0]

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation in the first member's chat template, ready to `stream` the answer."""
        return self.prompts.chat(messages)

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
        pairs = [self.prompts.pair(*pair) for pair in zip(prompt, continuation, strict=True)]
        method = self.method(combine=combine)
        scorings = [self._scoring(method, self._contexts(method, pair), pair[0][1]) for pair in pairs]
        return score_all(scorings, self._engine)

    def _contexts(self, method: Method, pair: Sequence[tuple[list[int], list[int]]]) -> list[list[int]]:
        contexts = [context for context, _ in pair]
        return self.prompts.negative(contexts, None) if method.combination.takes_negative() else contexts

    def _requests(
        self, prompt: Prompt, params: SamplingParams | None, chosen: Mapping[str, Any], several: bool = False
    ) -> list[Request]:
        """The samples of one prompt, as requests that have passed every check."""
        params = SamplingParams() if params is None else params
        if not isinstance(params, SamplingParams):
            raise RequestError(f"parameters must be SamplingParams, not: {type(params).__name__}")
        if params.n > 1 and not several:
            raise RequestError(f"n must be 1 here, not: {params.n}; generate returns several samples")
        # As asked for: what `auto` makes of it is another way to the same law
        combination = self.method(params, **{**chosen, "schedule": "standard"}).combination
        prompts = self.prompts.encode(prompt)
        if combination.takes_negative():
            prompts = self.prompts.negative(prompts, params.negative_prompt)
        elif params.negative_prompt is not None:
            raise RequestError(f"negative_prompt has no use with {combination.name}; use guidance or context_aware")
        return self.start(prompts, params, **chosen)

    def start(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
    ) -> list[Request]:
        """The `n` samples of one prompt as requests that have passed every check, for who runs the engine himself.

        Submit each request's `row` to `engine`, step it, and `drain` the request for what it yields.

        Args:
            prompts: token ids per member, as `prompts.encode` makes them; they may differ.

        Raises:
            RequestError, ConfigurationError: as for `stream`.
        """
        method = self.method(params, combine=combine, schedule=schedule, verification=verification)
        ends = self._ends(params)
        task = Task(
            prompts=prompts,
            warp=Warp.of(params),
            limit=min(params.max_tokens, self.prompts.room(prompts)),
            ends=ends,
            edits=self.prompts.edits(params, ends),
            logprobs=params.top_logprobs if params.logprobs else None,
            processed=params.logprobs_mode == "processed",
        )
        self.engine.check_tokens([len(ids) + task.limit for ids in prompts])
        return self._samples(params, method, task)

    def _samples(self, params: SamplingParams, method: Method, task: Task) -> list[Request]:
        # 53 bits: a number that every JSON reader keeps exactly
        seed = secrets.randbits(53) if params.seed is None else params.seed
        prompt = self._prompt_scoring(method, task.prompts) if params.prompt_logprobs else None
        requests = []
        for sample in range(params.n):
            transcript = Transcript(self.tokenizer, task.prompts[0][-6:], params, task.ends, task.limit)
            facts = {**method.names, "seed": seed, "sample": sample}
            requests.append(Request(self.members, method, task, transcript, facts, prompt))
        rows = [request.row for request in requests]
        for row in rows:
            row.siblings = rows
        return requests

    def _prompt_scoring(self, method: Method, prompts: Sequence[Sequence[int]]) -> Scoring:
        """Scores a prompt's tokens, from the second on."""
        if any(prompt != prompts[0] for prompt in prompts):
            raise RequestError("prompt_logprobs needs members without prompts of their own")
        return self._scoring(method, [prompt[:1] for prompt in prompts], prompts[0][1:])

    def _scoring(self, method: Method, prompts: Sequence[Sequence[int]], tokens: Sequence[int]) -> Scoring:
        self.engine.check_tokens([len(prompt) + len(tokens) for prompt in prompts])
        return Scoring(self.members, method.combination, prompts, tokens, drafts=self._drafts)

    def _ends(self, params: SamplingParams) -> frozenset[int]:
        ends = frozenset(params.stop_token_ids)
        if params.ignore_eos:
            return ends
        return ends.union(*(member.end_ids for member in self.members[: len(self.members) - self._drafts]))
