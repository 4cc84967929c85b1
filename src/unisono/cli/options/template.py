"""Options of every command that writes a conversation with a chat template."""

from dataclasses import dataclass

from unisono.cli.signature import option


@dataclass(frozen=True)
class TemplateOptions:
    """Options that say how a conversation is turned into a prompt. The class `Chat` has fields with the same names."""

    chat_template: str | None = option("A chat template: a name of the tokenizer's, a Jinja file, or `plain`.")
    chat_template_kwargs: str | None = option('Variables for the template, in JSON: {"enable_thinking": false}.')
