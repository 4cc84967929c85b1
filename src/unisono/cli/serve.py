"""`unisono serve`: any collaboration behind OpenAI's API."""

import logging
import os
import sys
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Annotated, Any, NoReturn

import typer

from unisono.cli.options import DEFAULT_MEMBERS, ChatTemplate, LoadOptions, quiet_libraries, read_template
from unisono.cli.signature import given, with_options
from unisono.config import Config
from unisono.errors import ConfigurationError
from unisono.members.source import as_source
from unisono.server.settings import Settings


@dataclass(frozen=True)
class ServeOptions:
    """What `unisono serve` takes."""

    load: LoadOptions = field(default_factory=LoadOptions)
    served_model_name: Annotated[str | None, typer.Option(help="What requests call the model.")] = None
    members_alone: Annotated[
        bool, typer.Option("--members-alone", help="Serve each member by itself too; weights are shared.")
    ] = False
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for every network.")] = Settings.host
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any that is free.")] = Settings.port
    api_key: Annotated[
        list[str] | None, typer.Option(help="A key that opens the API; repeat it.", envvar="UNISONO_API_KEY")
    ] = None
    allow: Annotated[str, typer.Option(help="Parts of `collaboration` that requests may set; empty for none.")] = (
        ",".join(Settings.allow)
    )
    max_num_seqs: Annotated[int, typer.Option(help="Rows that run at the same time, per model.")] = Settings.rows
    max_queue: Annotated[int, typer.Option(help="Rows that may wait, per model; more get status 429.")] = Settings.queue
    max_body: Annotated[int, typer.Option(help="Bytes of a request; more get status 413.")] = Settings.max_body
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens that a request may ask for.")] = None
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = Settings.timeout
    grace: Annotated[float, typer.Option(help="Seconds from a signal to end to the exit.")] = Settings.grace
    chat_template: ChatTemplate = None
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts to the log.")] = False


@with_options
def serve(options: ServeOptions) -> None:
    """Serve models behind OpenAI's API, with a playground at / and metrics at /metrics."""
    server = _server()
    settings = _settings(options)
    catalog = _catalog(server, options)
    quiet_libraries()
    server.run.serve(catalog.with_members_alone() if options.members_alone else catalog, settings)
    _leave()


def _settings(options: ServeOptions) -> Settings:
    return Settings(
        host=options.host,
        port=options.port,
        keys=tuple(options.api_key or ()),
        allow=tuple(part.strip() for part in options.allow.split(",") if part.strip()),
        rows=options.max_num_seqs,
        queue=options.max_queue,
        max_body=options.max_body,
        max_tokens=options.max_tokens,
        timeout=options.timeout,
        grace=options.grace,
        chat_template=read_template(options.chat_template),
        log_prompts=options.log_prompts,
    )


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
        from unisono.server import catalog, run
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"unisono serve needs {error.name}: pip install 'unisono[server]'") from error
    return SimpleNamespace(catalog=catalog, run=run)


def _catalog(server: Any, options: ServeOptions) -> Any:
    """The collaborations that are asked for, each with the options that go before the config."""
    catalog = _asked(server, options.load, options.served_model_name)
    method, sources = given(options.load.method), given(options.load.source)
    if method and len(catalog.models) > 1:
        raise ConfigurationError(f"{options.load.config} says how its models work together; leave out --{min(method)}")
    return server.catalog.Catalog({name: _with(each, method, sources) for name, each in catalog.models.items()})


def _asked(server: Any, options: LoadOptions, name: str | None) -> Any:
    """What the config file, the members on the command line or nobody asks for: then the bundled models."""
    if options.config is not None and options.members:
        raise ConfigurationError("give members in the config file or with --member, not both")
    if options.config is not None:
        return server.catalog.read(options.config, name)
    listed = tuple(as_source(each) for each in options.members or DEFAULT_MEMBERS)
    return server.catalog.single(Config(members=listed), name or (None if options.members else "zoo"))


def _with(config: Config, method: dict[str, Any], sources: dict[str, Any]) -> Config:
    """An option goes before the config, for members too."""
    asked = {"draft": config.draft, **method}
    if asked["draft"] is not None:
        asked["draft"] = as_source(asked["draft"], **sources)
    members = tuple(as_source(vars(source) | sources) for source in config.members)
    return replace(config, members=members, **asked)
