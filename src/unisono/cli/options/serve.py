"""Options of `unisono serve`."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from unisono.cli.options.load import ChatTemplate, LoadOptions
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
    trust_request_chat_template: Annotated[
        bool, typer.Option("--trust-request-chat-template", help="A request may bring the text of a chat template.")
    ] = False
    reasoning_parser: Annotated[
        str | None, typer.Option(help="`think`: what stands in <think> blocks of chats gets a field of its own.")
    ] = None
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts to the log.")] = False
