"""From options and a config file to what a command runs with: the ensemble, sampling parameters, a chat template."""

import json
import os
import re
import sys
from dataclasses import fields
from logging import CRITICAL
from pathlib import Path
from typing import Any

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging

from unisono.cli.options.load import LoadOptions, MethodOptions, SourceOptions
from unisono.cli.options.sampling import SamplingOptions
from unisono.cli.options.template import TemplateOptions
from unisono.cli.signature import given
from unisono.config import Config, read
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError
from unisono.members.source import Source
from unisono.params import SamplingParams

DEFAULT_MEMBERS = ("zoo:code-m", "zoo:code-n")
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def read_config(path: Path | None) -> Config:
    """The config file's content, or defaults."""
    return read(path) if path else Config()


def prepare_process() -> None:
    """Let `--combine module:function` find a module beside the user, and keep what libraries log from the user.

    Only now, when the program itself is imported: no file beside the user takes the place of one of its modules.
    """
    sys.path.insert(0, os.getcwd())
    transformers_logging.set_verbosity_error()
    hub_logging.set_verbosity(CRITICAL)


def load_ensemble(options: LoadOptions, config: Config | None = None) -> Ensemble:
    """The ensemble that options and config ask for; an option goes before the config.

    Args:
        config: what the config file of the options holds; None: no file is read.
    """
    prepare_process()
    config = Config() if config is None else config
    method = {each.name: getattr(config, each.name) for each in fields(MethodOptions)} | given(options.method)
    members = options.members or members_of(config, options.source) or DEFAULT_MEMBERS
    if isinstance(method["draft"], Source):  # the config's
        method["draft"] = method["draft"].given() | given(options.source)
    return Ensemble.load(members, **method, **given(options.source))


def members_of(config: Config, options: SourceOptions) -> list[dict[str, Any]]:
    """The config's members, for which an option goes before what the config says."""
    return [source.given() | given(options) for source in config.members]


def sampling(config: Config, options: SamplingOptions) -> dict[str, Any]:
    """The sampling parameters that are asked for: those of the config, with those options that were given.

    Raises:
        RequestError: one of them is wrong.
    """
    asked = {**config.sampling, **given(options)}
    if asked.pop("keep_special_tokens", False):
        asked["skip_special_tokens"] = False
    SamplingParams(**asked)
    return asked


def templating(options: TemplateOptions) -> dict[str, Any]:
    """The fields of `Chat` that are asked for. A template is named by a word; what is no word, or the name of a file, is read.

    Raises:
        ConfigurationError: the template cannot be read, or its variables are no JSON object.
    """
    fields, name = given(options), options.chat_template
    if name is not None and (name == "plain" or not re.fullmatch(r"[\w-]+", name) or Path(name).exists()):
        fields["chat_template"] = read_template(name)
    if options.chat_template_kwargs is not None:
        fields["chat_template_kwargs"] = _object("chat_template_kwargs", options.chat_template_kwargs)
    return fields


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{name} is no JSON: {error.msg} at character {error.pos}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f'{name} must be an object, as {{"enable_thinking": false}}, not: {text}')
    return found


def read_template(name: str | None) -> str | None:
    """A chat template: a file's text, or the plain one; ConfigurationError if the file cannot be read."""
    if name is None or name == "plain":
        return PLAIN_TEMPLATE if name else None
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"chat template cannot be read: {name} ({error})") from error
