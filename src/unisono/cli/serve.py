"""`unisono serve`: serve ensembles through OpenAI's API."""

import logging
import os
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NoReturn

from unisono.cli.loading import DEFAULT_MEMBERS, prepare_process, read_template
from unisono.cli.options.load import LoadOptions
from unisono.cli.options.serve import ServeOptions
from unisono.cli.signature import given
from unisono.config import Config
from unisono.errors import ConfigurationError
from unisono.members.backends import as_source
from unisono.server.settings import Settings


def run(options: ServeOptions) -> None:
    """Serve the ensembles until a signal ends the process."""
    server = _server()
    prepare_process()
    settings = _settings(options)
    catalog = _catalog(server, options)
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
        trust_templates=options.trust_request_chat_template,
        reasoning_parser=options.reasoning_parser,
        log_prompts=options.log_prompts,
    )


def _leave() -> NoReturn:
    """End the process at once, without the usual clean-up of Python.

    A normal exit takes seconds on a busy machine, and a thread may still be running a long step.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _server() -> Any:
    """Import and return the server's modules. Raise ConfigurationError if a required package is not installed."""
    try:
        from unisono.server import catalog, run
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"unisono serve needs {error.name}: pip install 'unisono[server]'") from error
    return SimpleNamespace(catalog=catalog, run=run)


def _catalog(server: Any, options: ServeOptions) -> Any:
    """Return the catalog of the ensembles to serve. The options override the config of each ensemble."""
    catalog = _asked(server, options.load, options.served_model_name)
    method, sources = given(options.load.method), given(options.load.source)
    together = sorted(method.keys() - {"generation_config"})
    if together and len(catalog.models) > 1:
        raise ConfigurationError(f"{options.load.config} says how its models work together; leave out --{together[0]}")
    return server.catalog.Catalog({name: _with(each, method, sources) for name, each in catalog.models.items()})


def _asked(server: Any, options: LoadOptions, name: str | None) -> Any:
    """Return the catalog in the config file. Without a config file, return a catalog of one ensemble.

    In the second case, the ensemble consists of the members in the options, or of the bundled models by default.
    """
    if options.config is not None and options.members:
        raise ConfigurationError("give members in the config file or with --member, not both")
    if options.config is not None:
        return server.catalog.read(options.config, name)
    listed = tuple(as_source(each) for each in options.members or DEFAULT_MEMBERS)
    return server.catalog.single(Config(members=listed), name or (None if options.members else "zoo"))


def _with(config: Config, method: dict[str, Any], sources: dict[str, Any]) -> Config:
    """Return the config with changed options.

    Args:
        method: new values for fields of the config.
        sources: new settings for all members and for the draft model.
    """
    asked = {"draft": config.draft, **method}
    if asked["draft"] is not None:
        asked["draft"] = as_source(as_source(asked["draft"]).given() | sources)
    members = tuple(as_source(source.given() | sources) for source in config.members)
    return replace(config, members=members, **asked)
