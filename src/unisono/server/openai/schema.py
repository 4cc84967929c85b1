"""The schemas of requests. Unknown fields are errors. `SamplingParams` checks the ranges of the sampling parameters."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from unisono.server.openai import neutral

Count = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
MOST_CHOICES, MOST_LOGPROBS = 128, 20


def _describe(schema: dict[str, Any], model: type["Strict"]) -> None:
    schema["properties"] = neutral.described(model.ignorable) | schema["properties"]


class Strict(BaseModel):
    """A schema that neither converts values (`"1"` is not a number) nor accepts unknown fields.

    ignorable: additional fields that are accepted and ignored, if their values do not change the answer.
    """

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra=_describe)
    ignorable: ClassVar[neutral.Table] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, values: Any) -> Any:
        return neutral.without_neutral(values, cls.ignorable, cls.model_fields)


class StreamOptions(Strict):
    ignorable = neutral.STREAM
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class ResponseFormat(Strict):
    type: Literal["text"]


class TextPart(Strict):
    ignorable = neutral.PART
    type: Literal["text"]
    text: str


class Templating(Strict):
    """The fields of vLLM for the chat template."""

    chat_template: str | None = Field(None, description="The name of one of the tokenizer's templates")
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None


class Message(Strict):
    """A message of a conversation. The chat template can use `name` and `reasoning_content` as variables."""

    ignorable = neutral.MESSAGE
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    reasoning_content: str | None = None

    @model_validator(mode="after")
    def _require_content(self) -> "Message":
        if self.content is None and self.role != "assistant":
            raise PydanticCustomError("no_content", "only an assistant's message may be without content")
        return self

    def as_plain(self) -> dict[str, str]:
        """Return the message in the form that chat templates expect. All values are texts."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())
        others = {"name": self.name, "reasoning_content": self.reasoning_content}
        return {"role": self.role, "content": content, **{name: text for name, text in others.items() if text}}


class Collaboration(Strict):
    """Options that say how the members are combined for this request.

    If a field is missing, the value in the server's config applies.
    """

    combine: str | None = Field(None, description="A combination as on the command line: weighted:0.7,0.3")
    weights: list[Number] | None = Field(None, description="One per member, for weighted and product")
    mu: Number | None = Field(None, description="For contrastive")
    schedule: str | None = Field(None, description="standard, parallel, speculative:G, cos:G1,G2,... or auto")
    verification: str | None = None


class TraceOptions(Strict):
    """Options that add the field `unisono` to the chunks of a stream. The playground shows this field."""

    candidates: Annotated[int, Field(ge=1, le=MOST_LOGPROBS)] = 5


class Sampling(Strict):
    """The fields that requests for chats and for completions have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=64)] | None = None
    seed: int | None = None
    logit_bias: dict[str, Number] | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    max_tokens: Count | None = None
    # fields of vLLM
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    min_p: Number | None = None
    repetition_penalty: Number | None = None
    stop_token_ids: list[TokenId] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    min_tokens: Count | None = None
    spec_decode_metrics: Literal["none", "summary", "detailed"] | None = None
    # fields of unisono
    collaboration: Collaboration | None = None
    guidance_scale: Number | None = None
    trace: TraceOptions | None = None


class CompletionRequest(Sampling):
    ignorable = neutral.COMPLETION
    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_CHOICES)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MOST_CHOICES)]
    )
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    negative_prompt: str | None = None


class ChatRequest(Sampling, Templating):
    ignorable = neutral.CHAT
    messages: Annotated[list[Message], Field(min_length=1)]
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    max_completion_tokens: Count | None = None
    response_format: ResponseFormat | None = None
    negative_messages: Annotated[list[Message], Field(min_length=1)] | None = None


class TokenizeRequest(Templating):
    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False


class DetokenizeRequest(Strict):
    model: str | None = None
    tokens: list[TokenId]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The body of every error, in the shape that OpenAI uses."""

    error: ErrorBody


FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 404, 408, 413, 429, 500, 503, 504)
}
