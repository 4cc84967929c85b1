"""`unisono serve`: any collaboration behind OpenAI's API."""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, NoReturn

import typer

from unisono.cli.options import (
    DEFAULT_MEMBERS,
    Combine,
    Compile,
    ConfigFile,
    Device,
    Draft,
    Dtype,
    Members,
    ScheduleName,
    VerificationName,
    quiet_libraries,
    read_template,
)
from unisono.config import Config
from unisono.errors import ConfigurationError
from unisono.members.backends import as_source


def serve(
    member: Members = [],  # noqa: B006 - typer reads the default, nobody changes it
    combine: Combine = None,
    schedule: ScheduleName = None,
    verification: VerificationName = None,
    draft: Draft = None,
    dtype: Dtype = None,
    device: Device = None,
    compile: Compile = None,
    config: ConfigFile = None,
    served_model_name: Annotated[str | None, typer.Option(help="What requests call the model.")] = None,
    members_alone: Annotated[
        bool, typer.Option("--members-alone", help="Serve each member by itself too; weights are shared.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any that is free.")] = 8000,
    api_key: Annotated[
        list[str] | None, typer.Option(help="A key that opens the API; repeat it.", envvar="UNISONO_API_KEY")
    ] = None,
    allow: Annotated[
        str, typer.Option(help="Parts of `collaboration` that requests may set; empty for none.")
    ] = "combine,weights,mu,schedule,verification",
    max_num_seqs: Annotated[int, typer.Option(help="Rows that run at the same time, per model.")] = 64,
    max_queue: Annotated[int, typer.Option(help="Rows that may wait, per model; more get status 429.")] = 256,
    max_body: Annotated[int, typer.Option(help="Bytes of a request; more get status 413.")] = 2**20,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens that a request may ask for.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 600.0,
    grace: Annotated[float, typer.Option(help="Seconds from a signal to end to the exit.")] = 30.0,
    chat_template: Annotated[
        str | None, typer.Option(help="File with a Jinja template, or `plain`, for members without one.")
    ] = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts to the log.")] = False,
) -> None:
    """Serve models behind OpenAI's API, with a playground at / and metrics at /metrics."""
    server = _server()
    settings = server.settings.Settings(
        host=host,
        port=port,
        keys=tuple(api_key or ()),
        allow=tuple(part.strip() for part in allow.split(",") if part.strip()),
        rows=max_num_seqs,
        queue=max_queue,
        max_body=max_body,
        max_tokens=max_tokens,
        timeout=timeout,
        grace=grace,
        chat_template=read_template(chat_template),
        log_prompts=log_prompts,
    )
    catalog = _catalog(server, config, member, served_model_name)
    method = _given(combine=combine, schedule=schedule, verification=verification, draft=draft)
    if method and len(catalog.models) > 1:
        raise ConfigurationError(f"{config} says how its models work together; leave out --{min(method)}")
    sources = _given(dtype=dtype, device=device, compile=compile)
    catalog = server.catalog.Catalog({name: _with(each, method, sources) for name, each in catalog.models.items()})
    quiet_libraries()
    server.run.serve(catalog.with_members_alone() if members_alone else catalog, settings)
    _leave()


def _leave() -> NoReturn:
    """Exit at once: the interpreter's own end takes seconds of the grace time on a busy machine, and would meet threads that
    are in the middle of a long step.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _server() -> Any:
    """The package that serves, with what it needs."""
    try:
        from unisono.server import catalog, run, settings
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"unisono serve needs {error.name}: pip install 'unisono[server]'") from error
    return SimpleNamespace(catalog=catalog, run=run, settings=settings)


def _catalog(server: Any, config: Path | None, members: Sequence[str], name: str | None) -> Any:
    """What the config file, the members on the command line or nobody asks for: then the bundled models."""
    if config is not None and members:
        raise ConfigurationError("give members in the config file or with --member, not both")
    if config is not None:
        return server.catalog.read(config, name)
    listed = tuple(as_source(each) for each in members or DEFAULT_MEMBERS)
    return server.catalog.single(Config(members=listed), name or (None if members else "zoo"))


def _given(**options: str | None) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _with(config: Config, method: dict[str, Any], sources: dict[str, Any]) -> Config:
    """An option goes before the config, for members too."""
    asked = {"draft": config.draft, **method}
    if asked["draft"] is not None:
        asked["draft"] = as_source(asked["draft"], **sources)
    members = tuple(as_source(source.given() | sources) for source in config.members)
    return replace(config, members=members, **asked)
