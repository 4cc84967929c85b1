"""The facade: text in, a stream of pieces out. Everything a user does goes through here."""

import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from unisono import zoo
from unisono.combine import as_combination
from unisono.combine.base import target_law
from unisono.engine import Method, Row, Task
from unisono.errors import ConfigurationError, RequestError
from unisono.members.hf import HFMember, load
from unisono.members.source import ZOO, Source, as_source
from unisono.output import Transcript
from unisono.prompts import Prompt, Prompts
from unisono.rng import KeyedNoise
from unisono.schedules import Schedule, as_schedule, default_proposer
from unisono.types import Commit, Piece, Result, SamplingParams, Score
from unisono.verify import VERIFICATIONS
from unisono.verify import parse as parse_verification
from unisono.vocabulary import common
from unisono.warp import Warp


class Ensemble:
    """Several language models that decode one text.

    Thread-safe: threads may generate and stream at the same time. Each request has its own slot in every member, and a
    member's forwards are serialised, so a request's text does not depend on what runs beside it.
    """

    def __init__(
        self,
        members: Sequence[HFMember],
        prompts: Prompts,
        combine: object = None,
        schedule: object = "auto",
        verification: str = "auto",
    ) -> None:
        self.members = list(members)
        self.prompts = prompts
        self._defaults = {"combine": combine, "schedule": schedule, "verification": verification}
        self.method()  # whatever is wrong with the defaults is said now

    @classmethod
    def load(
        cls,
        members: Sequence[object],
        combine: object = None,
        schedule: object = "auto",
        verification: str = "auto",
        **options: Any,
    ) -> "Ensemble":
        """Load members and check that they can be combined.

        Args:
            members: names, mappings or `Source`s, or loaded transformers models, in the order that weights and draft
                lengths follow; for contrastive combinations the expert first.
            combine: a combination, its text form, or a function; the uniform `weighted` by default.
            schedule: `standard`, `parallel`, `speculative:G`, `cos:G1,G2,...` or `auto`.
            verification: `token` or `auto`.
            options: fields of `Source` for every member that does not set them itself, as `dtype="float32"`.

        Raises:
            MemberError: a model cannot be loaded, does not fit in memory, or has another vocabulary.
            ConfigurationError: an option is unknown or does not fit the members.
        """
        if isinstance(members, str | Mapping) or not members:
            raise ConfigurationError('give a list of at least one member, as in ["zoo:code-m", "zoo:code-s"]')
        sources = [as_source(member, **options) for member in members]
        loaded = [load(source, _folder(source)) for source in sources]
        models, tokenizers = [member for member, _ in loaded], [tokenizer for _, tokenizer in loaded]
        _name_apart(models)
        vocabulary = common([model.name for model in models], tokenizers, [model.vocabulary for model in models])
        if vocabulary.partial:
            tokens = ", ".join(vocabulary.partial)
            warnings.warn(f"tokens that only some members know get no mass: {tokens}", stacklevel=2)
        for model in models:
            model.restrict(vocabulary.size, vocabulary.forbidden)
        contexts = [model.context for model in models]
        prompts = Prompts(tokenizers[0], [source.prompt for source in sources], contexts, vocabulary)
        return cls(models, prompts, combine, schedule, verification)

    @property
    def tokenizer(self) -> Any:
        """The members' common tokenizer, or None."""
        return self.prompts.tokenizer

    @property
    def names(self) -> list[str]:
        """The members' names, in their order."""
        return [member.name for member in self.members]

    def method(self, **overrides: object) -> tuple[Method, str, str, str]:
        """What a call would use: the method, and the names of its combination, schedule and verification.

        Args:
            overrides: `combine`, `schedule`, `verification`; None means the default of this ensemble.
        """
        chosen = {key: self._defaults[key] if value is None else value for key, value in overrides.items()}
        chosen = {**self._defaults, **chosen}
        count, sizes = len(self.members), [member.parameters for member in self.members]
        combination = as_combination(chosen["combine"], count)
        needed = combination.needed(count)
        schedule: Schedule = as_schedule(chosen["schedule"], sizes, needed)
        verification = parse_verification(str(chosen["verification"]))
        proposer = default_proposer(sizes, [combination.weight(member) for member in range(count)], needed)
        method = Method(combination, schedule, VERIFICATIONS[verification], proposer)
        return method, combination.name, schedule.name, verification

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        combine: object = None,
        schedule: object = None,
        verification: str | None = None,
    ) -> Iterator[Piece]:
        """Decode one prompt; yields a piece per token, then a last one with the whole result.

        Closing the iterator cancels the request. Arguments other than the prompt override the ensemble's defaults.

        Raises:
            RequestError, ConfigurationError: at the call, not at the first piece.
        """
        params = SamplingParams() if params is None else params
        if not isinstance(params, SamplingParams):
            raise RequestError(f"parameters must be SamplingParams, not: {type(params).__name__}")
        method, *names = self.method(combine=combine, schedule=schedule, verification=verification)
        encoded = self.prompts.encode(prompt)
        self.prompts.check_stops(params)
        limit = min(params.max_tokens, self.prompts.room(encoded))
        ends = self._ends(params)
        # 53 bits: a number that every JSON reader keeps exactly
        seed = secrets.randbits(53) if params.seed is None else params.seed
        task = Task(encoded, Warp.of(params), limit, ends, params.logprobs)
        row = Row(self.members, method, task, KeyedNoise(seed))
        transcript = Transcript(self.tokenizer, encoded[0][-6:], params, ends, limit)
        return _pieces(row, transcript, seed, names)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        **overrides: Any,
    ) -> list[Result]:
        """Decode each prompt; one result per prompt, in their order. Arguments as for `stream`.

        Args:
            prompts: texts or lists of token ids; a single one gives a list of one result.
            params: for all prompts, or one per prompt.
        """
        each = self.prompts.split(prompts)
        settings: list[Any] = list(params) if isinstance(params, list | tuple) else [params] * len(each)
        if len(settings) != len(each):
            raise RequestError(f"give one SamplingParams for all prompts or one each: {len(settings)} for {len(each)}")
        streams = [self.stream(prompt, setting, **overrides) for prompt, setting in zip(each, settings, strict=True)]
        return [_result(stream) for stream in streams]

    def chat(
        self, messages: Sequence[Mapping[str, str]], params: SamplingParams | None = None, **overrides: Any
    ) -> Result:
        """Answer a conversation, written with the first member's chat template. Arguments as for `stream`."""
        return _result(self.stream(self.prompts.chat(messages), params, **overrides))

    @torch.inference_mode()
    def logprobs(self, prompt: str, continuation: str, *, combine: object = None) -> Score:
        """Log-probabilities of a continuation under the combined law at temperature 1, without truncation.

        Prompt and continuation are joined and split as lm-evaluation-harness does: they are encoded together, and
        blanks at the prompt's end count to the continuation.
        """
        method, *_ = self.method(combine=combine)
        rows = self.prompts.pair(prompt, continuation)
        tokens = rows[0][1]
        logits = []
        for member, (context, target) in zip(self.members, rows, strict=True):
            slot = member.open()
            try:
                logits.append(member.score(slot, (context + target)[:-1], len(target)))
            finally:
                member.close(slot)
        home = logits[0].device
        law = target_law(method.combination, [each.to(home) for each in logits], Warp())
        chosen = law.gather(-1, torch.tensor(tokens, device=home).unsqueeze(-1)).log().flatten()
        greedy = law.argmax(-1).tolist() == tokens
        return Score(tuple(tokens), tuple(chosen.tolist()), greedy)

    def _ends(self, params: SamplingParams) -> frozenset[int]:
        ends = frozenset(params.stop_token_ids)
        if params.ignore_eos:
            return ends
        return ends.union(*(member.end_ids for member in self.members))


def _folder(source: Source) -> str | None:
    if isinstance(source.model, str) and source.model.startswith(ZOO):
        return str(zoo.path(source.model.removeprefix(ZOO)))
    return None


def _name_apart(members: Sequence[HFMember]) -> None:
    """The same model twice gets names with numbers, so that statistics stay readable."""
    names = [member.name for member in members]
    for index, member in enumerate(members):
        if names.count(member.name) > 1:
            member.name = f"{names[index]}#{names[: index + 1].count(names[index])}"


def _pieces(row: Row, transcript: Transcript, seed: int, names: Sequence[str]) -> Iterator[Piece]:
    rounds = row.rounds()
    try:
        for commits in rounds:
            for count, commit in enumerate(commits, 1):
                piece = transcript.push(commit)
                if transcript.finish_reason:
                    row.stats.drop(commits[count:])
                yield piece
                if transcript.finish_reason:
                    break
            if transcript.finish_reason:
                break
    finally:
        rounds.close()  # type: ignore[attr-defined]
    yield _last(row, transcript, seed, names)


def _last(row: Row, transcript: Transcript, seed: int, names: Sequence[str]) -> Piece:
    text = transcript.close()
    assert transcript.finish_reason is not None
    commits: tuple[Commit, ...] = tuple(transcript.commits)
    result = Result(transcript.text, transcript.token_ids, transcript.finish_reason, commits, row.stats, seed, *names)
    return Piece(text, None, transcript.finish_reason, result)


def _result(stream: Iterator[Piece]) -> Result:
    *_, last = stream
    assert last.result is not None
    return last.result
