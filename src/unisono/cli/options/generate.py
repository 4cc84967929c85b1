"""Options of `unisono generate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from unisono.cli.options.load import LoadOptions
from unisono.cli.options.sampling import SamplingOptions
from unisono.cli.options.template import TemplateOptions


@dataclass(frozen=True)
class GenerateOptions:
    """What `unisono generate` takes."""

    prompt: Annotated[str | None, typer.Argument(help="The prompt; without it, standard input is read.")] = None
    load: LoadOptions = field(default_factory=LoadOptions)
    file: Annotated[Path | None, typer.Option(help="Read the prompt from this file.")] = None
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a user's message, or a JSON list of messages.")
    ] = False
    template: TemplateOptions = field(default_factory=TemplateOptions)
    continue_final_message: Annotated[
        bool, typer.Option("--continue-final-message", help="With --chat: the last message goes on.")
    ] = False
    add_generation_prompt: Annotated[
        bool | None, typer.Option(help="With --chat: whether the beginning of the answer's turn is written.")
    ] = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    logprobs: Annotated[bool, typer.Option("--logprobs", help="With --json: log-probability of each token.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False
    trace: Annotated[
        bool, typer.Option("--trace", help="Colour tokens by who proposed them; show what was replaced.")
    ] = False
