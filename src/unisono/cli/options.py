"""Options that several commands take, and what becomes of them."""

from dataclasses import dataclass, field, fields
from logging import CRITICAL
from pathlib import Path
from typing import Annotated, Any

import typer
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging

from unisono.cli.signature import given
from unisono.config import Config, read
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError
from unisono.params import SamplingParams

DEFAULT_MEMBERS = ("zoo:code-m", "zoo:code-n")
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

Members = Annotated[
    list[str],
    typer.Option(
        "--member", "-m", help="A member: local folder, hub id or zoo:NAME; repeat it. Default: two bundled models."
    ),
]
Combine = Annotated[
    str | None,
    typer.Option(help="What the output follows: weighted:0.7,0.3, cosd, ... (docs/methods) or module:function."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file; options on the command line go before it.")
]
ChatTemplate = Annotated[
    str | None, typer.Option(help="File with a Jinja template, or `plain`, for members without one.")
]


@dataclass(frozen=True)
class SourceOptions:
    """How every member is loaded; the fields are those of `Source`."""

    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None
    device: Annotated[str | None, typer.Option(help="Where the members run, as cpu or cuda:0.")] = None
    compile: Annotated[
        str | None, typer.Option("--compile", help="Compiled forwards: on, off, or auto (those of earlier runs).")
    ] = None
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic", help="The same text whatever runs beside it, also in half precision; no shared forwards."
        ),
    ] = None


@dataclass(frozen=True)
class MethodOptions:
    """How the members decode; the fields are those of `Config`."""

    combine: Combine = None
    schedule: Annotated[
        str | None,
        typer.Option(help="standard, parallel, speculative:G, cos:G1,G2,..., relay:G, risky:K, lookup:N or auto."),
    ] = None
    verification: Annotated[
        str | None, typer.Option(help="How proposals are decided: token, block, coupled or auto.")
    ] = None
    draft: Annotated[
        str | None, typer.Option(help="A small model that only proposes: it changes the speed, not the text.")
    ] = None


@dataclass(frozen=True)
class LoadOptions:
    """Which members are loaded, how, and how they decode. An option goes before the config file."""

    members: Members = field(default_factory=list)
    method: MethodOptions = field(default_factory=MethodOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    config: ConfigFile = None


@dataclass(frozen=True)
class SamplingOptions:
    """How a text is sampled; the fields are those of `SamplingParams`."""

    max_tokens: Annotated[
        int | None, typer.Option(help=f"The most tokens to generate; default {SamplingParams.max_tokens}.")
    ] = None
    temperature: Annotated[
        float | None, typer.Option(help=f"0 takes the most probable token; default {SamplingParams.temperature}.")
    ] = None
    top_k: Annotated[int | None, typer.Option(help="Keep the k most probable tokens; 0 is off.")] = None
    top_p: Annotated[float | None, typer.Option(help="Keep the tokens that hold this mass; 1 is off.")] = None
    min_p: Annotated[float | None, typer.Option(help="Keep tokens of this share of the largest probability.")] = None
    repetition_penalty: Annotated[float | None, typer.Option(help="Of tokens of prompt and output; 1 is off.")] = None
    presence_penalty: Annotated[float | None, typer.Option(help="Of tokens of the output; 0 is off.")] = None
    frequency_penalty: Annotated[float | None, typer.Option(help="The same, per occurrence; 0 is off.")] = None
    min_tokens: Annotated[int | None, typer.Option(help="No end before so many tokens.")] = None
    bad_words: Annotated[
        list[str] | None, typer.Option("--bad-word", help="A text that must not occur; repeat it.")
    ] = None
    stop: Annotated[list[str] | None, typer.Option(help="Stop at this text; repeat it.")] = None
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on behind the end of the text.")] = False
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.")] = None
    negative_prompt: Annotated[
        str | None, typer.Option(help="With guidance: what the second member reads instead of the prompt.")
    ] = None


def read_config(path: Path | None) -> Config:
    """The config file's content, or defaults."""
    return read(path) if path else Config()


def quiet_libraries() -> None:
    """How a checkpoint was saved and how often a hub was asked are not the user's business here."""
    transformers_logging.set_verbosity_error()
    hub_logging.set_verbosity(CRITICAL)


def load_ensemble(options: LoadOptions, config: Config | None = None) -> Ensemble:
    """The ensemble that options and config ask for; an option goes before the config.

    Args:
        config: what the config file of the options holds; None: no file is read.
    """
    quiet_libraries()
    config = Config() if config is None else config
    method = {each.name: getattr(config, each.name) for each in fields(MethodOptions)} | given(options.method)
    members = options.members or members_of(config, options.source) or DEFAULT_MEMBERS
    return Ensemble.load(members, **method, **given(options.source))


def members_of(config: Config, options: SourceOptions) -> list[dict[str, Any]]:
    """The config's members, for which an option goes before what the config says."""
    return [vars(source) | given(options) for source in config.members]


def sampling(config: Config, options: SamplingOptions) -> SamplingParams:
    """Sampling parameters of the config, with those options that were given."""
    values = {each.name: getattr(config.sampling, each.name) for each in fields(SamplingParams)}
    return SamplingParams(**values | given(options))


def read_template(name: str | None) -> str | None:
    """A chat template: a file's text, or the plain one.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if name is None or name == "plain":
        return PLAIN_TEMPLATE if name else None
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"chat template cannot be read: {name} ({error})") from error
