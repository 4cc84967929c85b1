"""Make the ensemble, the sampling parameters and the chat template of a command from its options and its config."""

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
    """Return the config in a file. Return the default config if the path is None."""
    return read(path) if path else Config()


def prepare_process() -> None:
    """Put the current folder on the module path, for `--combine module:function`, and turn off the logs of libraries.

    Call this function after all imports of the program. Otherwise a file in the current folder could replace an
    imported module.
    """
    sys.path.insert(0, os.getcwd())
    transformers_logging.set_verbosity_error()
    hub_logging.set_verbosity(CRITICAL)


def load_ensemble(options: LoadOptions, config: Config | None = None) -> Ensemble:
    """Load the ensemble that the options and the config describe. An option overrides the config.

    Args:
        config: the config, or None for the default config. This function does not read the config file that the options
            name.
    """
    prepare_process()
    config = Config() if config is None else config
    method = {each.name: getattr(config, each.name) for each in fields(MethodOptions)} | given(options.method)
    members = options.members or members_of(config, options.source) or DEFAULT_MEMBERS
    if isinstance(method["draft"], Source):  # a draft from the config; a draft from an option is a string
        method["draft"] = method["draft"].given() | given(options.source)
    return Ensemble.load(members, **method, **given(options.source))


def members_of(config: Config, options: SourceOptions) -> list[dict[str, Any]]:
    """Return the members in the config. The options override the settings of these members."""
    return [source.given() | given(options) for source in config.members]


def sampling(config: Config, options: SamplingOptions) -> dict[str, Any]:
    """Return the sampling parameters that the config or the options set. An option overrides the config.

    Raises:
        RequestError: a parameter is invalid.
    """
    asked = {**config.sampling, **given(options)}
    if asked.pop("keep_special_tokens", False):
        asked["skip_special_tokens"] = False
    SamplingParams(**asked)
    return asked


def templating(options: TemplateOptions) -> dict[str, Any]:
    """Return the fields of `Chat` that the options set.

    A chat template that is a single word names a template of the tokenizer, unless a file has this name. Any other chat
    template is the path of a file.

    Raises:
        ConfigurationError: the template cannot be read, or the variables for the template are not a JSON object.
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
    """Return the chat template in a file. Return the plain template if `name` is `plain`, and None if `name` is None.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if name is None or name == "plain":
        return PLAIN_TEMPLATE if name else None
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"chat template cannot be read: {name} ({error})") from error
