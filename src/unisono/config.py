"""Read the configuration of an ensemble from a YAML file or a mapping. Unknown keys are errors. An example of a file:

members:
  - zoo:code-m
  - {model: zoo:code-s, dtype: float32}
combine: weighted:0.7,0.3
schedule: cos:1,4
sampling: {max_tokens: 64, temperature: 0.8}

`draft: zoo:code-s` adds a member that only proposes tokens. With `generation_config: off`, the sampling values in the
members' generation configs are ignored. `threads: 2` sets the number of threads that run one torch operation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from unisono.errors import ConfigurationError, require_count, require_known
from unisono.members.backends import as_source, member_options
from unisono.members.source import Source
from unisono.params import SamplingParams, read_generation_config


@dataclass(frozen=True)
class Config:
    """The content of a config file. `sampling` contains only the fields of `SamplingParams` that the file sets."""

    members: tuple[Source, ...] = ()
    combine: str | None = None
    schedule: str = "auto"
    verification: str = "auto"
    sampling: Mapping[str, Any] = field(default_factory=dict)
    draft: Source | None = None  # a model that only proposes tokens
    generation_config: str = "auto"
    threads: int | None = None  # threads per torch operation, for the whole process; None: the default of torch

    def __post_init__(self) -> None:
        SamplingParams(**self.sampling)
        read_generation_config(self.generation_config)

    @property
    def params(self) -> SamplingParams:
        """The sampling parameters. Fields that the file does not set have the defaults of `SamplingParams`."""
        return SamplingParams(**self.sampling)

    @property
    def alone(self) -> Source | None:
        """The member, if the config lists exactly one member; else None."""
        return self.members[0] if self.members and not self.members[1:] else None


def read(path: Path) -> Config:
    """Read a YAML file and return the config.

    Raises:
        ConfigurationError: the file cannot be read, is no mapping, or has an unknown key or an invalid value.
    """
    return from_mapping(read_mapping(path), str(path))


def read_mapping(path: Path) -> Any:
    """Read a YAML file and return the content without checking it. An empty file gives an empty mapping.

    Raises:
        ConfigurationError: the file cannot be read or is not YAML.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigurationError(f"config file cannot be read: {path} ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise ConfigurationError(f"config file is not valid YAML: {path} ({problem})") from error
    return {} if content is None else content


def from_mapping(content: Any, where: str = "config") -> Config:
    """Return the config that a mapping describes. Raise ConfigurationError if the mapping is invalid.

    Args:
        where: the name of the mapping in error messages.
    """
    options = _checked(content, Config, where)
    members = options.get("members", [])
    if not isinstance(members, list | tuple):
        raise ConfigurationError(f"{where}: members must be a list, not: {members!r}")
    if options.get("generation_config") is False:  # YAML reads `off` as False
        options["generation_config"] = "off"
    values: dict[str, Any] = {key: _text(value, f"{where}: {key}") for key, value in options.items() if key in TEXTS}
    sampling = _checked(options.get("sampling", {}), SamplingParams, f"{where}: sampling")
    draft = None if options.get("draft") is None else as_source(options["draft"])
    sources = tuple(as_source(member) for member in members)
    if options.get("threads") is not None:
        values["threads"] = require_count(f"{where}: threads", options["threads"], 1)
    return Config(members=sources, draft=draft, sampling=sampling, **values)


TEXTS = ("combine", "schedule", "verification", "generation_config")


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects a mapping with two equal keys. PyYAML itself would silently use the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice, line {node.start_mark.line + 1} and below")
        return super().construct_mapping(node, deep)


def _checked(content: Any, target: type, where: str) -> dict[str, Any]:
    """Return a mapping as keyword arguments for the dataclass `target`. Raise ConfigurationError for an unknown key."""
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{where} must be a mapping of options, not: {type(content).__name__}")
    known = [each.name for each in fields(target)]
    for key in content if target is Config else ():
        if key not in known and key in member_options():
            raise ConfigurationError(f"{where}: {key} is an option of a member: {{model: zoo:code-m, {key}: ...}}")
        if key == "models":
            raise ConfigurationError(f"{where} holds several collaborations, which only `unisono serve` takes")
    require_known(f"key in {where}", content, known)
    return dict(content)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        quote = "; YAML reads on, off, yes and no so: write quotes" if isinstance(value, bool) else ""
        raise ConfigurationError(f"{where} must be a text, not: {value!r}{quote}")
    return value
