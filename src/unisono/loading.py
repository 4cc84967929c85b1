"""From what a user lists as members to loaded members that share a vocabulary."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from unisono import zoo
from unisono.errors import ConfigurationError, MemberError, unknown
from unisono.members.hf import HFMember
from unisono.members.load import load
from unisono.members.memory import free_memory
from unisono.members.source import ZOO, Source, as_source
from unisono.prompts import Prompts
from unisono.vocabulary import common

OPTIONS = ("combine", "schedule", "verification", "rows", "memory")  # those that are not a member's


def load_members(members: Sequence[object], options: Mapping[str, Any]) -> tuple[list[HFMember], Prompts]:
    """Loaded members, cut to their common vocabulary, and how prompts are encoded for them.

    Raises:
        MemberError: a model cannot be loaded, does not fit in memory, or has another vocabulary.
        ConfigurationError: an option is unknown or cannot be honoured.
    """
    if not isinstance(members, list | tuple) or not members:
        raise ConfigurationError('give a list of at least one member, as in ["zoo:code-m", "zoo:code-s"]')
    for key in options:
        known = [*OPTIONS, *(each.name for each in fields(Source) if each.name != "model")]
        if key not in known:
            raise unknown("option of Ensemble.load", key, known)
    sources = [as_source(member, **options) for member in members]
    loaded = _load_all(sources)
    models, tokenizers = [member for member, _ in loaded], [tokenizer for _, tokenizer in loaded]
    _name_apart(models)
    vocabulary = common([model.name for model in models], tokenizers, [model.vocabulary for model in models])
    if vocabulary.partial:
        tokens = ", ".join(vocabulary.partial)
        warnings.warn(f"tokens that only some members know get no mass: {tokens}", stacklevel=3)
    for model in models:
        model.restrict(vocabulary.size, vocabulary.forbidden)
    contexts = [model.context for model in models]
    return models, Prompts(tokenizers[0], [source.prompt for source in sources], contexts, vocabulary)


def cache_budget(members: Sequence[HFMember]) -> int:
    """Bytes that the members' caches may take if nobody says: half of what is free on the fullest device."""
    return min(free_memory(member.device) for member in members) // 2


def _folder(source: Source) -> str | None:
    """Where a bundled model lies; None for others."""
    if not isinstance(source.model, str):
        return None
    if source.model in zoo.names() and not Path(source.model).exists():
        raise MemberError(f"unknown member: {source.model!r}; did you mean '{ZOO}{source.model}'?")
    return str(zoo.path(source.model.removeprefix(ZOO))) if source.model.startswith(ZOO) else None


def _name_apart(members: Sequence[HFMember]) -> None:
    """The same model twice gets names with numbers, so that statistics stay readable."""
    names = [member.name for member in members]
    for index, member in enumerate(members):
        if names.count(member.name) > 1:
            member.name = f"{names[index]}#{names[: index + 1].count(names[index])}"


def _load_all(sources: Sequence[Source]) -> list[tuple[HFMember, Any]]:
    """Load each source once: members that differ in name and prompt only share one copy of the weights."""
    loaded: list[tuple[HFMember, Any]] = []
    weights = [replace(source, prompt=Source.prompt, name=None) for source in sources]
    for index, source in enumerate(sources):
        twin = next((other for other in range(index) if weights[other] == weights[index]), None)
        if twin is None:
            loaded.append(load(source, _folder(source)))
        else:
            member, tokenizer = loaded[twin]
            loaded.append((HFMember(member.model, source.name or member.name), tokenizer))
    return loaded
