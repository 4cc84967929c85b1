"""The settings of the server, for example address, keys and limits. They are checked before any model is loaded."""

import ipaddress
from dataclasses import dataclass
from math import inf

from unisono.errors import ConfigurationError, require_known, unknown
from unisono.server.reasoning import PARSERS

OVERRIDES = ("combine", "weights", "mu", "schedule", "verification")
LARGEST_PORT = 65535


@dataclass(frozen=True)
class Settings:
    """The settings of the server. The operator of the server chooses them.

    keys: the accepted API keys. Without keys, requests need no key.
    allow: the fields of `collaboration` that a request may set.
    rows: the largest number of rows that run at the same time, per model.
    queue: the largest number of rows that wait, per model.
    max_body: the largest body of a request in bytes.
    max_tokens: the largest `max_tokens` of a request. None means that only the context limits the text.
    timeout: the time limit of a request in seconds.
    grace: seconds from SIGTERM or SIGINT to the exit. Running requests may use all but the last `reserve` seconds.
    chat_template: the Jinja chat template for models whose tokenizer has no chat template.
    trust_templates: whether a request may contain the text of a template.
    reasoning_parser: `think` moves text between `<think>` and `</think>` from a chat's content to `reasoning_content`.
    log_prompts: whether prompts are written to the log.

    Raises:
        ConfigurationError: a value is out of its range. The message names the value.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()
    allow: tuple[str, ...] = OVERRIDES
    rows: int = 64
    queue: int = 256
    max_body: int = 2**20
    max_tokens: int | None = None
    timeout: float = 600.0
    grace: float = 30.0
    chat_template: str | None = None
    trust_templates: bool = False
    reasoning_parser: str | None = None
    log_prompts: bool = False

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("queue", 0), ("max_body", 1), ("timeout", 0), ("grace", 0)):
            if not least <= getattr(self, name) < inf:  # `nan` fails this test too
                raise ConfigurationError(f"{name} must be {least} or more, not: {getattr(self, name)}")
        if not self.timeout:
            raise ConfigurationError("timeout must be more than 0, not: 0; no request would be answered")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigurationError(f"max_tokens must be 1 or more, not: {self.max_tokens}")
        if not 0 <= self.port <= LARGEST_PORT:
            raise ConfigurationError(f"port must be in [0, {LARGEST_PORT}], not: {self.port}")
        if any(not key.strip() or not key.isascii() for key in self.keys):
            raise ConfigurationError(
                "an API key must be ASCII and not empty; leave the option out to serve without keys"
            )
        if self.reasoning_parser not in (None, *PARSERS):
            raise unknown("reasoning parser", str(self.reasoning_parser), PARSERS)
        require_known("part of a collaboration to allow", self.allow, OVERRIDES)

    @property
    def reserve(self) -> float:
        """The last part of the grace time, in seconds. In this part, the server ends streams and stops threads."""
        return min(2.0, self.grace / 2)

    @property
    def public(self) -> bool:
        """Whether other machines may reach the server. A host name other than localhost counts as public."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a host name
            return True
