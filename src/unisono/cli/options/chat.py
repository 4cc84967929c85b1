"""Options of `unisono chat`."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from unisono.cli.options.load import LoadOptions
from unisono.cli.options.sampling import SamplingOptions
from unisono.cli.options.template import TemplateOptions


@dataclass(frozen=True)
class ChatOptions:
    """What `unisono chat` takes."""

    load: LoadOptions = field(default_factory=LoadOptions)
    system: Annotated[str | None, typer.Option(help="Instructions in front of the conversation.")] = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    template: TemplateOptions = field(default_factory=TemplateOptions)
    trace: Annotated[
        bool, typer.Option("--trace", help="Colour tokens by who proposed them; show what was replaced.")
    ] = False
