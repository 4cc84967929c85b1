"""Turn the fields of a request into sampling parameters, prompts, a method and a worker."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from unisono.combine import Combination, as_combination, parse
from unisono.combine.parse import FORMS
from unisono.errors import ConfigurationError, UnisonoError
from unisono.params import SamplingParams
from unisono.request import Request
from unisono.server.errors import APIError, refused
from unisono.server.models import Model
from unisono.server.openai.schema import ChatRequest, Collaboration, CompletionRequest, Message, Sampling, Templating
from unisono.server.reasoning import ends_open, opened
from unisono.server.settings import Settings
from unisono.server.worker import Worker
from unisono.text.encoder import Chat
from unisono.text.prompts import Prepared, Prompt

# Fields of requests that are also fields of `SamplingParams`
PLAIN = (
    "n", "seed", "presence_penalty", "frequency_penalty", "temperature", "top_p", "min_p",
    "repetition_penalty", "ignore_eos", "min_tokens", "stop_token_ids", "stop", "skip_special_tokens",
)  # fmt: skip
# Combinations that a request may name. Other combinations could run code (`module:function`) or read files
SAFE = tuple(name for name, form in FORMS.items() if "file" not in form.keys)


@dataclass(frozen=True)
class Order:
    """A request that has passed all checks that need no forward pass.

    method: keyword arguments of `Ensemble.start`.
    texts: the prompts as texts if the request asks for `echo`, else empty.
    limit: 0 if the prompts are scored and no token is generated, else 1.
    top: the number of candidates to return for each token, or None if the request asks for no log-probabilities.
    inside: whether the answer begins inside a thinking block, or None if thoughts stay in the answer.
    """

    model: Model
    worker: Worker
    params: SamplingParams
    method: Mapping[str, Any]
    prompts: Sequence[Prepared] = ()
    texts: Sequence[str] = ()
    limit: int = 1
    top: int | None = None
    inside: bool | None = None

    @property
    def rows(self) -> int:
        return len(self.prompts) * self.params.n if self.limit else 0

    @property
    def combination(self) -> Combination:
        """The combination that the request uses."""
        return self.worker.ensemble.combination(self.method.get("combine"))

    def start(self) -> list[Request]:
        """Return one `Request` per choice of the answer. The call takes long if the prompts are long."""
        ensemble = self.worker.ensemble
        return [each for prompt in self.prompts for each in ensemble.start(prompt, self.params, **self.method)]


def chat_order(body: ChatRequest, model: Model, settings: Settings) -> Order:
    """Return the order for a chat.

    Raises:
        APIError: 400 if a field is wrong. The error names the field.
    """
    if None not in (limits := (body.max_tokens, body.max_completion_tokens)) and limits[0] != limits[1]:
        raise APIError(400, "max_tokens and max_completion_tokens differ; give one of them", "max_tokens")
    if body.top_logprobs and not body.logprobs:
        raise APIError(400, "top_logprobs needs logprobs: true", "top_logprobs")
    top = (body.top_logprobs or 0) if body.logprobs else None
    limit = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
    try:
        chat = chat_of(body, body.messages, settings)
        against = None if body.negative_messages is None else chat_of(body, body.negative_messages, settings)
        order = _order(body, model, settings, [chat], against, top, limit)
    except UnisonoError as error:
        raise refused(error, body.model_fields_set | {"messages"}) from error
    return order if settings.reasoning_parser is None else replace(order, inside=_inside(body, order))


def _inside(body: ChatRequest, order: Order) -> bool:
    """Return whether the answer begins inside a thinking block.

    If the answer continues a message, the opening tag can be in this message. Otherwise it can be at the prompt's end.
    """
    if body.continue_final_message:
        return opened(body.messages[-1].as_plain()["content"])
    return ends_open(_decoded(order.model, order.prompts[0].contexts[0].tokens[-16:]))


def chat_of(body: Templating, messages: Sequence[Message], settings: Settings) -> Chat:
    """Return the messages as a `Chat` with the request's options for the chat template.

    Raises:
        APIError: 400 if the request contains the text of a template although the settings forbid this.
        RequestError: the options contradict each other.
    """
    if body.chat_template is not None and "{" in body.chat_template and not settings.trust_templates:
        message = "chat_template: this server takes the name of a template of the tokenizer, not a template's text"
        raise APIError(400, message, "chat_template")
    fields = body.model_dump(include=set(Templating.model_fields), exclude_none=True)
    return Chat([each.as_plain() for each in messages], **fields)


def completion_order(body: CompletionRequest, model: Model, settings: Settings) -> Order:
    """Return the order for completions.

    Raises:
        APIError: 400 if a field is wrong. The error names the field.
    """
    given: Any = body.prompt
    each = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    try:
        score_only = body.max_tokens == 0 and bool(body.echo)
        limit = None if score_only else body.max_tokens
        order = _order(body, model, settings, each, body.negative_prompt, body.logprobs, limit)
    except UnisonoError as error:
        raise refused(error, CompletionRequest.model_fields) from error
    texts = [prompt if isinstance(prompt, str) else _decoded(model, prompt) for prompt in each] if body.echo else []
    return replace(order, texts=texts, limit=0 if score_only else order.limit)


def _order(
    body: Sampling,
    model: Model,
    settings: Settings,
    prompts: Sequence[Prompt | Chat],
    negative: Prompt | Chat | None,
    top: int | None,
    limit: int | None,
) -> Order:
    if body.stream_options is not None and not body.stream:
        raise APIError(400, "stream_options needs stream: true", "stream_options")
    if (asked := body.stream_options) and asked.continuous_usage_stats and not asked.include_usage:
        raise APIError(400, "continuous_usage_stats needs include_usage: true", "stream_options")
    params = _params(body, model, settings, top, limit)
    method = _method(body.collaboration, model, settings.allow)
    worker = model.worker
    if body.guidance_scale is not None:
        if "combine" in method:
            raise APIError(400, "guidance_scale is a combination; leave out the one in collaboration", "guidance_scale")
        worker, method["combine"] = _guidance(body.guidance_scale, model)
    order = Order(model, worker, params, method, top=top)
    combination = order.combination
    if negative is not None and "negative" not in combination.prompts:
        message = "a negative prompt needs guidance_scale, or a model that is combined by guidance"
        raise APIError(400, message, "guidance_scale")
    prepare = worker.ensemble.prompts.prepare
    order = replace(order, prompts=[prepare(each, params, combination, negative) for each in prompts])
    if body.trace and (not body.stream or order.rows != 1):
        raise APIError(400, "trace needs stream: true, one prompt and n: 1", "trace")
    return order


def _params(body: Sampling, model: Model, settings: Settings, top: int | None, limit: int | None) -> SamplingParams:
    values: dict[str, Any] = {name: getattr(body, name) for name in PLAIN if getattr(body, name) is not None}
    most = settings.max_tokens or sys.maxsize
    if limit is None:
        limit = max(min(model.config.params.max_tokens, most), body.min_tokens or 0)
    if limit > most:
        raise APIError(400, f"max_tokens: this server generates at most {most} tokens", "max_tokens")
    values["max_tokens"] = limit
    if body.top_k is not None:
        values["top_k"] = max(0, body.top_k)  # vLLM's -1 means no limit
    if body.logit_bias is not None:
        values["logit_bias"] = _bias(body.logit_bias)
    if top is not None:
        values.update(logprobs=True, top_logprobs=top)
    return replace(model.ensemble.default_params, **{**model.config.sampling, **values})


def _bias(asked: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): value for token, value in asked.items()}
    except ValueError:
        raise APIError(400, "logit_bias: its keys must be token ids", "logit_bias") from None


def _decoded(model: Model, ids: Sequence[int]) -> str:
    text: str = model.ensemble.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text


def _method(asked: Collaboration | None, model: Model, allowed: Sequence[str]) -> dict[str, Any]:
    """Return the value of a request's field `collaboration` as keyword arguments of `Ensemble.start`.

    Raise an `APIError` if the request sets a name that is not in `allowed`, or if a value is invalid.
    """
    given = {} if asked is None else asked.model_dump(exclude_none=True)
    for name in given:
        if name not in allowed:
            parts = ", ".join(allowed) or "nothing"
            raise _refused(name, f"this server does not let requests set it (they may set: {parts})")
    chosen: dict[str, Any] = {name: given[name] for name in ("schedule", "verification") if name in given}
    if given.keys() & {"combine", "weights", "mu"}:
        chosen["combine"] = _combination(given, model)
    for name, value in chosen.items():
        with _reported_as(name):
            model.ensemble.method(**{name: value})
    return chosen


def _guidance(scale: float, model: Model) -> tuple[Worker, Combination]:
    """Return the worker and the combination for guidance with this scale.

    The worker has two members. One member reads the prompt, and the other member reads the negative prompt.
    """
    try:
        combination = parse(f"guidance:{scale!r}", 2)
    except UnisonoError as error:
        raise APIError(400, str(error), "guidance_scale") from error
    if model.guided is not None:
        return model.guided, combination
    if "negative" in model.ensemble.combination().prompts:
        return model.worker, combination
    message = "guidance_scale needs a model of one member, or of two that are combined by guidance"
    members = f"{model.name} has {len(model.ensemble.lineup.combined)} members"
    raise APIError(400, f"{message}; {members}", "guidance_scale")


def _combination(given: dict[str, Any], model: Model) -> Combination:
    """Return the combination that `given` names, or the combination of the model's config if `given` names none.

    The values of `weights` and `mu` in `given` replace the values of the combination.
    """
    text, configured, count = given.get("combine"), model.config.combine, len(model.ensemble.lineup.combined)
    if text is not None and text != configured and text.partition(":")[0] not in SAFE:
        raise _refused("combine", f"a request may name {', '.join(SAFE)}, not: {text!r}")
    with _reported_as("combine"):
        combination = as_combination(text or configured, count)
    for part in ("weights", "mu"):
        if part in given:
            with _reported_as(part):
                combination = _changed(combination, part, given[part])
                combination.check(count)
    return combination


def _changed(combination: Combination, part: str, value: Any) -> Combination:
    """Return the combination with a new value for the parameter `part`."""
    form = FORMS.get(combination.name.partition(":")[0])
    if form is None or not (form.per_member if part == "weights" else part in form.keys):
        raise ConfigurationError(f"{combination.name} has no {part}")
    kept = {key: getattr(combination, key) for key in form.keys}
    return form.build(**{**kept, part: value})


def _refused(part: str, problem: str) -> APIError:
    return APIError(400, f"collaboration.{part}: {problem}", f"collaboration.{part}")


@contextmanager
def _reported_as(part: str) -> Iterator[None]:
    """Turn an error of the library into an `APIError` that names the field `part` of `collaboration`."""
    try:
        yield
    except UnisonoError as error:
        raise _refused(part, str(error)) from error
