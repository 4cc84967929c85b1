"""How the server runs: its address, its keys, its limits. Checked before anything is loaded."""

import ipaddress
from dataclasses import dataclass
from math import inf

from unisono.errors import ConfigurationError, require_known, unknown
from unisono.server.reasoning import PARSERS

OVERRIDES = ("combine", "weights", "mu", "schedule", "verification")
LARGEST_PORT = 65535


@dataclass(frozen=True)
class Settings:
    """What the operator decides.

    keys: any of them opens the API; none leaves it open. allow: which parts of `collaboration` a request may set.
    rows: requests that run at the same time, per model. queue: how many more may wait, per model.
    max_body: bytes of a request. max_tokens: the most that a request may ask for; None for as many as the context holds.
    timeout: seconds that a request may take. grace: seconds from a signal to end to the exit; running requests get them,
    except for a `reserve` at their end in which streams are ended and threads stop.
    chat_template: Jinja text for members without a template of their own.
    trust_templates: a request may bring the text of a chat template.
    reasoning_parser: `think` to give what stands between `<think>` and `</think>` a field of its own in chats; None: not.
    log_prompts: write prompts to the log.

    Raises:
        ConfigurationError: a value is out of its range; the message names it.
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
            if not least <= getattr(self, name) < inf:  # nor is `nan` a time
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
        """Seconds of the grace time that ending takes."""
        return min(2.0, self.grace / 2)

    @property
    def public(self) -> bool:
        """Whether other machines can reach the address."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, whatever it resolves to
            return True
