"""Options of `unisono serve`."""

from dataclasses import dataclass, field

from unisono.cli.options.load import LoadOptions
from unisono.cli.signature import flag, option
from unisono.server.settings import Settings


@dataclass(frozen=True)
class ServeOptions:
    load: LoadOptions = field(default_factory=LoadOptions)
    served_model_name: str | None = option("The name of the model in requests.")
    members_alone: bool = flag("Serve each member by itself too; weights are shared.")
    host: str = option("Address to listen at; 0.0.0.0 for every network.", default=Settings.host)
    port: int = option("Port to listen at; 0 for any that is free.", default=Settings.port)
    api_key: list[str] | None = option("A key that opens the API; repeat it.", envvar="UNISONO_API_KEY")
    allow: str = option(
        "Parts of `collaboration` that requests may set; empty for none.", default=",".join(Settings.allow)
    )
    max_num_seqs: int = option("Rows that run at the same time, per model.", default=Settings.rows)
    max_queue: int = option("Rows that may wait, per model; more get status 429.", default=Settings.queue)
    max_body: int = option("Bytes of a request; more get status 413.", default=Settings.max_body)
    max_tokens: int | None = option("The most tokens that a request may ask for.")
    timeout: float = option("Seconds that a request may take.", default=Settings.timeout)
    grace: float = option("Seconds from a signal to end to the exit.", default=Settings.grace)
    chat_template: str | None = option("File with a Jinja template, or `plain`, for members without one.")
    trust_request_chat_template: bool = flag("A request may bring the text of a chat template.")
    reasoning_parser: str | None = option("`think`: return the text in <think> blocks of chats in a separate field.")
    log_prompts: bool = flag("Write prompts to the log.")
