"""Options of every command that writes a conversation with a chat template."""

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class TemplateOptions:
    """How a conversation is written; the fields are those of `Chat`."""

    chat_template: Annotated[
        str | None, typer.Option(help="A chat template: a name of the tokenizer's, a Jinja file, or `plain`.")
    ] = None
    chat_template_kwargs: Annotated[
        str | None, typer.Option(help='What the template is told, in JSON: {"enable_thinking": false}.')
    ] = None
