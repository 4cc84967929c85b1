"""From what a user lists as members to loaded members that share a vocabulary."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from unisono import zoo
from unisono.errors import ConfigurationError, MemberError, unknown
from unisono.members.hf.load import load
from unisono.members.hf.member import HFMember
from unisono.members.hf.memory import free_memory
from unisono.members.lineup import Lineup
from unisono.members.source import ZOO, Source, as_source
from unisono.text.prompts import Prompts
from unisono.tokens.vocabulary import Vocabulary, common

OPTIONS = ("combine", "schedule", "verification", "rows", "memory", "draft")  # those that are not a member's


Loaded = list[tuple[Source, HFMember, Any]]  # what was asked for, and its member and tokenizer


def load_members(
    members: Sequence[object],
    options: Mapping[str, Any],
    before: Loaded | None = None,
    drafts: Sequence[object] = (),
) -> tuple[Lineup, Prompts]:
    """Loaded members, cut to their common vocabulary, and how prompts are encoded for them.

    Args:
        drafts: members that only propose, put behind the others; they may not change which tokens there are.
        before: members of other ensembles, whose weights are shared; those loaded now are added to it.

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
    sources = [as_source(member, **options) for member in (*members, *drafts)]
    loaded = _load_all(sources, [] if before is None else before)
    models, tokenizers = [member for member, _ in loaded], [tokenizer for _, tokenizer in loaded]
    _name_apart(models)
    speakers = [(model.name, tokenizer, model.vocabulary) for model, tokenizer in zip(models, tokenizers, strict=True)]
    vocabulary = _common(speakers)
    if drafts and _common(speakers[: len(members)]) != vocabulary:
        raise MemberError(f"draft model {models[-1].name} lacks tokens that the members share; take one that has them")
    if vocabulary.partial:
        tokens = ", ".join(vocabulary.partial)
        warnings.warn(f"tokens that only some members know get no mass: {tokens}", stacklevel=3)
    for model in models:
        model.restrict(vocabulary.size, vocabulary.forbidden)
    lineup = Lineup(tuple(models), len(drafts))
    return lineup, Prompts(tokenizers[0], [source.prompt for source in sources], lineup, vocabulary)


def _common(speakers: Sequence[tuple[str, Any, int]]) -> Vocabulary:
    names, tokenizers, sizes = zip(*speakers, strict=True)
    return common(names, tokenizers, sizes)


def cache_budget(lineup: Lineup) -> int:
    """Bytes that the members' caches may take if nobody says: half of what is free on the fullest device."""
    return min(free_memory(member.device) for member in lineup.members) // 2


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


def _load_all(sources: Sequence[Source], loaded: Loaded) -> list[tuple[HFMember, Any]]:
    """Load each source once: members that differ in name and prompt only share one copy of the weights."""
    found: list[tuple[HFMember, Any]] = []
    for source in sources:
        weights = replace(source, prompt=Source.prompt, name=None)
        twin = next(((member, tokenizer) for other, member, tokenizer in loaded if other == weights), None)
        if twin is None:
            found.append(load(source, _folder(source)))
            loaded.append((weights, *found[-1]))
        else:
            member, tokenizer = twin
            copy = HFMember(member.model, source.name or _own_name(source, member))
            copy.share(member)
            if source.deterministic:
                copy.isolate()
            found.append((copy, tokenizer))
    return found


def _own_name(source: Source, twin: HFMember) -> str:
    """What the member is called if nobody says: as its model, whatever a twin of the same weights was called."""
    return Path(str(source.model).removeprefix(ZOO)).name if isinstance(source.model, str | Path) else twin.name
