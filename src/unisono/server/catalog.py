"""The catalog of served models: named collaborations from one config file, checked before any weights are loaded.

models:
  pair: {members: [zoo:code-m, zoo:code-n], combine: "weighted:0.7,0.3"}
  contrast: {members: [zoo:code-m, zoo:code-s], combine: "contrastive:0.1", sampling: {temperature: 0}}
members_alone: true

Instead of `models`, a file may have the fields of a single collaboration, such as `members` and `combine`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from unisono.combine import as_combination
from unisono.config import Config, from_mapping, read_mapping
from unisono.errors import ConfigurationError, require_known
from unisono.methods import as_schedule, as_verification

KEYS = ("models", "members_alone")


@dataclass(frozen=True)
class Catalog:
    """The served collaborations. Each collaboration has a name, and a request selects a collaboration by name.

    The playground uses the first collaboration by default.
    """

    models: Mapping[str, Config]

    def __post_init__(self) -> None:
        if not self.models:
            raise ConfigurationError("there is nothing to serve; name at least one model")
        for name, config in self.models.items():
            _check(name, config)

    def with_members_alone(self) -> "Catalog":
        """Return a catalog that also serves each member alone, under the name of the member.

        Raises:
            ConfigurationError: two models would have the same name.
        """
        alone: dict[str, Config] = {}
        for config in self.models.values():
            for source in config.members:
                name, own = source.called, (replace(source, name=None),)
                if name in self.models or (name in alone and alone[name].members != own):
                    raise ConfigurationError(f"member {name} cannot be served alone: another model has its name")
                alone[name] = Config(own, sampling=config.sampling, generation_config=config.generation_config)
        return Catalog({**self.models, **alone})


def read(path: Path, name: str | None = None) -> Catalog:
    """Return the catalog that a YAML file describes.

    Args:
        name: the name of the model. It is allowed only if the file describes a single collaboration.

    Raises:
        ConfigurationError: the file cannot be read, or it has an unknown key or a wrong value, or `name` is not
            allowed.
    """
    content = read_mapping(path)
    several = isinstance(content, Mapping) and "models" in content
    known = KEYS if several else [*KEYS, *(each.name for each in fields(Config))]
    require_known(f"key in {path}", content if isinstance(content, Mapping) else (), known)
    if not several:
        return single(from_mapping(content, str(path)), name)
    models, alone = content["models"], content.get("members_alone", False)
    if not isinstance(models, Mapping):
        raise ConfigurationError(f"{path}: models must be a mapping of names to collaborations, not: {models!r}")
    if not isinstance(alone, bool):
        raise ConfigurationError(f"{path}: members_alone must be true or false, not: {alone!r}")
    if name is not None:
        raise ConfigurationError(f"{path} names its models itself; leave out the served model name {name!r}")
    catalog = Catalog({str(key): from_mapping(value, f"{path}: models: {key}") for key, value in models.items()})
    return catalog.with_members_alone() if alone else catalog


def single(config: Config, name: str | None = None) -> Catalog:
    """Return a catalog of one collaboration. By default, its name is the members' names, joined by `+`."""
    return Catalog({name or "+".join(source.called for source in config.members): config})


def _check(name: str, config: Config) -> None:
    """Raise ConfigurationError if a config has a mistake that can be found without loading a model."""
    if not name or not name.isprintable():
        raise ConfigurationError(f"a served model needs a printable name, not: {name!r}")
    if not config.members:
        raise ConfigurationError(f"model {name} has no members")
    count = len(config.members)
    combination = as_combination(config.combine, count)
    as_schedule(config.schedule, [1] * (count + (config.draft is not None)), combination.needed(count))
    as_verification(config.verification)
