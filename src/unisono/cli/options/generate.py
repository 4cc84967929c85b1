"""Options of `unisono generate`."""

from dataclasses import dataclass, field
from pathlib import Path

from unisono.cli.options.load import LoadOptions
from unisono.cli.options.sampling import TRACE, SamplingOptions
from unisono.cli.options.template import TemplateOptions
from unisono.cli.signature import argument, flag, option


@dataclass(frozen=True)
class GenerateOptions:
    prompt: str | None = argument("The prompt; without it, standard input is read.")
    load: LoadOptions = field(default_factory=LoadOptions)
    file: Path | None = option("Read the prompt from this file.")
    chat: bool = flag("The prompt is a user's message, or a JSON list of messages.")
    template: TemplateOptions = field(default_factory=TemplateOptions)
    continue_final_message: bool = flag("With --chat: the last message goes on.")
    add_generation_prompt: bool | None = option("With --chat: whether the beginning of the answer's turn is written.")
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    logprobs: bool = flag("With --json: log-probability of each token.")
    as_json: bool = flag("Print one JSON object at the end.", "--json")
    trace: bool = flag(TRACE)
