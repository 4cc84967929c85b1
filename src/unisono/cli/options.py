"""Options that several commands take, and what becomes of them."""

from collections.abc import Sequence
from dataclasses import fields
from logging import CRITICAL
from pathlib import Path
from typing import Annotated, Any

import typer
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging

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
Draft = Annotated[
    str | None, typer.Option("--draft", help="A small model that only proposes: it changes the speed, not the text.")
]
Combine = Annotated[
    str | None,
    typer.Option(help="What the output follows: weighted:0.7,0.3, cosd, ... (docs/methods) or module:function."),
]
ScheduleName = Annotated[
    str | None,
    typer.Option(
        "--schedule", help="standard, parallel, speculative:G, cos:G1,G2,..., relay:G, risky:K, lookup:N or auto."
    ),
]
VerificationName = Annotated[
    str | None, typer.Option("--verification", help="How proposals are decided: token, block, coupled or auto.")
]
Dtype = Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")]
Device = Annotated[str | None, typer.Option(help="Where the members run, as cpu or cuda:0.")]
Compile = Annotated[
    str | None, typer.Option("--compile", help="Compiled forwards: on, off, or auto (those of earlier runs).")
]
Deterministic = Annotated[
    bool | None,
    typer.Option(
        "--deterministic", help="The same text whatever runs beside it, also in half precision; no shared forwards."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file; options on the command line go before it.")
]


def read_config(path: Path | None) -> Config:
    """The config file's content, or defaults."""
    return read(path) if path else Config()


def quiet_libraries() -> None:
    """How a checkpoint was saved and how often a hub was asked are not the user's business here."""
    transformers_logging.set_verbosity_error()
    hub_logging.set_verbosity(CRITICAL)


def load_ensemble(
    config: Config,
    members: Sequence[str],
    combine: str | None,
    schedule: str | None,
    verification: str | None,
    draft: str | None = None,
    **sources: Any,
) -> Ensemble:
    """The ensemble that config and options ask for; an option goes before the config."""
    quiet_libraries()
    given = {key: value for key, value in sources.items() if value is not None}
    listed = [source.given() | given for source in config.members]  # an option goes before the config, for members too
    return Ensemble.load(
        list(members) or listed or DEFAULT_MEMBERS,
        combine=config.combine if combine is None else combine,
        schedule=config.schedule if schedule is None else schedule,
        verification=config.verification if verification is None else verification,
        draft=config.draft if draft is None else draft,
        **given,
    )


def sampling(config: Config, **options: Any) -> SamplingParams:
    """Sampling parameters of the config, with those options that were given."""
    values = {field.name: getattr(config.sampling, field.name) for field in fields(SamplingParams)}
    return SamplingParams(**{**values, **{key: value for key, value in options.items() if value is not None}})


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
