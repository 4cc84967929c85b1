"""The user's specification of one member."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from unisono.errors import ConfigurationError

ZOO = "zoo:"  # prefix of the names of bundled models
PLAIN = "{prompt}"
KINDS: dict[str, tuple[Any, str]] = {"name": (str | None, "a text"), "prompt": (str, "a text")}


@dataclass(frozen=True)
class Source:
    """The specification of one member. `backends.as_source` makes a `Source` from a user's mapping, name or model.

    model: a local folder, a hub id, `zoo:<name>`, another name that a backend knows, or a loaded model.
    tokenizer: the member's tokenizer; by default the tokenizer in the model's files. A loaded model has no default
        tokenizer. Without a tokenizer, prompts are token ids.
    name: the member's name in messages and statistics; by default the name of the model.
    prompt: a template for this member's prompt. The user's prompt replaces `{prompt}` in the template.
    options: an object of the class `Backend.options` of the backend that loads this source; None for the defaults.
    """

    model: Any
    tokenizer: Any = None
    name: str | None = None
    prompt: str = PLAIN
    options: Any = None

    def __post_init__(self) -> None:
        if self.model is None or (isinstance(self.model, str) and not self.model):
            raise ConfigurationError(f"a member is a name, a folder or a loaded model, not: {self.model!r}")
        require_kinds(self, KINDS)
        if self.name == "":
            raise ConfigurationError("a member's name must not be empty; leave it out to take the model's")
        if PLAIN not in self.prompt:
            raise ConfigurationError(f"a member's prompt must contain {PLAIN}, not: {self.prompt!r}")
        if self.options is not None and (isinstance(self.options, type) or not is_dataclass(self.options)):
            raise ConfigurationError(
                f"a source's options are an object of its backend, not: {self.options!r}; list the member as a mapping"
            )

    @property
    def called(self) -> str:
        """Return the name of the member: the given name, or the name of the model."""
        if self.name is not None:
            return self.name
        if isinstance(self.model, str | Path):
            return Path(str(self.model).removeprefix(ZOO)).name
        return type(self.model).__name__

    def given(self) -> dict[str, Any]:
        """Return the fields and backend options that differ from their defaults, as one mapping of names to values."""
        own = changed(self)
        options = own.pop("options", None)
        return own if options is None else {**own, **changed(options)}


def require_kinds(value: Any, kinds: Mapping[str, tuple[Any, str]]) -> None:
    """Raise ConfigurationError if an attribute of `value` has the wrong type.

    Args:
        kinds: for each attribute name, the required type, and the phrase for this type in the error message.
    """
    for name, (wanted, words) in kinds.items():
        if not isinstance(getattr(value, name), wanted):
            raise ConfigurationError(f"a member's {name} must be {words}, not: {getattr(value, name)!r}")


def changed(value: Any) -> dict[str, Any]:
    """Return name -> value for all fields of a dataclass object, except fields whose value is the default."""
    values = {each.name: (getattr(value, each.name), each.default) for each in fields(value)}
    return {name: found for name, (found, default) in values.items() if default is MISSING or found != default}
