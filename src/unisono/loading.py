"""Load the members that a user lists, and make a lineup of members that share a vocabulary."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unisono.decoding.proposals import FORCED
from unisono.errors import ConfigurationError, MemberError, require_known
from unisono.members.backends import as_source, backend_of, member_options
from unisono.members.base import Member
from unisono.members.lineup import Lineup
from unisono.members.memory import free_memory
from unisono.members.source import PLAIN, Source
from unisono.params import read_generation_config, usable
from unisono.text.prompts import Prompts
from unisono.threads import use
from unisono.tokens.vocabulary import Vocabulary, common

# Those that are not a member's
OPTIONS = (
    "combine",
    "schedule",
    "verification",
    "rows",
    "memory",
    "draft",
    "proposers",
    "generation_config",
    "threads",
)

Loaded = list[tuple[Source, Member, Any]]  # source of the weights, loaded member, tokenizer


def load_members(
    members: Sequence[object],
    options: Mapping[str, Any],
    before: Loaded | None = None,
    draft: object = None,
    generation_config: str = "auto",
    threads: int | None = None,
) -> tuple[Lineup, Prompts]:
    """Load members; return their lineup and the encoder of prompts. All members are restricted to the common vocabulary.

    Members that differ only in name and prompt are twins: they share weights and a KV cache.

    Args:
        options: options of a member, by name, for all members that do not set them.
        before: members of other ensembles, whose weights are shared. Members that are loaded now are added to the list.
        draft: a member that only proposes tokens. It is the last of the lineup and must know all tokens that the others share.
        generation_config: as for `Ensemble.load`.
        threads: number of threads of an operation, for the whole process; None: no change.

    Raises:
        MemberError: a model cannot be loaded, does not fit in memory or has another vocabulary, or only some of the
            members apply temperature and truncation themselves.
        ConfigurationError: an option is unknown or invalid.
    """
    use(threads)
    if not isinstance(members, list | tuple) or not members:
        raise ConfigurationError('give a list of at least one member, as in ["zoo:code-m", "zoo:code-s"]')
    follows = read_generation_config(generation_config)
    known = [*OPTIONS, *(name for name in member_options() if name != "model")]
    require_known("option of Ensemble.load", options, known)
    drafts = () if draft is None else (draft,)
    sources = [as_source(member, **options) for member in (*members, *drafts)]
    loaded, tokenizers = zip(*_load_all(sources, [] if before is None else before), strict=True)
    lineup = Lineup(loaded, len(drafts), twins=_twins(sources))
    lineup = replace(lineup, ends=frozenset().union(*(_ends(tokenizers[index]) for index in lineup.combined)))
    _name_apart(lineup)
    _require_one_warp(lineup)
    if follows:
        lineup = replace(lineup, sampling=_sampling(lineup))
    vocabulary = _vocabulary(lineup, tokenizers)
    prompts = Prompts(tokenizers, [source.prompt for source in sources], lineup, vocabulary)
    for member in lineup.members:
        member.restrict(vocabulary.size, vocabulary.forbidden)
    return lineup, prompts


def load_guided(source: Source, before: Loaded, generation_config: str = "auto") -> tuple[Lineup, Prompts]:
    """Load a member and its twin for `guidance`. The twin reads the negative prompt.

    Args:
        before, generation_config: as for `load_members`.
    """
    unguided = replace(source, name=f"{source.called} unguided")
    return load_members([source, unguided], {}, before, generation_config=generation_config)


def with_proposers(lineup: Lineup, proposers: Sequence[Any]) -> Lineup:
    """Return the lineup with proposers that are no members (see `decoding.drafting.Proposer`).

    Raises:
        ConfigurationError: one of them has no name, or the name of another one, or does not propose.
    """
    for proposer in proposers:
        name = getattr(proposer, "name", None)
        if not isinstance(name, str) or not callable(getattr(proposer, "propose", None)):
            raise ConfigurationError(f"a proposer needs a name and a method propose(seats), not: {proposer!r:.80}")
        if name in (*lineup.proposer_names, FORCED):
            raise ConfigurationError(f"two proposers have the same name: {name}; give each a name of its own")
        lineup = replace(lineup, proposers=(*lineup.proposers, proposer))
    return lineup


def cache_budget(lineup: Lineup) -> int:
    """Return the default number of bytes for the KV caches: half of the free memory of the device with the least."""
    return min(free_memory(member.device) for member in lineup.members) // 2


def _load_all(sources: Sequence[Source], before: Loaded) -> list[tuple[Member, Any]]:
    """Return each source's member and tokenizer. Sources of the same weights share one copy of the weights."""
    found: list[tuple[Member, Any]] = []
    for index, (source, first) in enumerate(zip(sources, _firsts(sources), strict=True)):
        found.append(_load(source, before) if first == index else _twin(source, *found[first]))
    return found


def _load(source: Source, before: Loaded) -> tuple[Member, Any]:
    """Return the first member of these weights in its ensemble. If another ensemble has loaded the weights, share them."""
    weights = _weights(source)
    for other, member, tokenizer in before:
        if other == weights:
            return backend_of(source).share(member, source.called), tokenizer
    member, tokenizer = backend_of(source).load(source)
    before.append((weights, member, tokenizer))
    return member, tokenizer


def _twin(source: Source, member: Member, tokenizer: Any) -> tuple[Member, Any]:
    return backend_of(source).twin(member, source.called), tokenizer


def _weights(source: Source) -> Source:
    return replace(source, name=None, prompt=PLAIN)


def _firsts(sources: Sequence[Source]) -> list[int]:
    """Return, for each source, the index of the first source with the same weights."""
    weights = [_weights(source) for source in sources]
    return [weights.index(each) for each in weights]


def _ends(tokenizer: Any) -> frozenset[int]:
    """Return the tokenizer's end token as a set, which is empty if the tokenizer has none."""
    # An end token that is missing in the vocabulary may have the id of another token
    end = getattr(tokenizer, "eos_token_id", None)
    if end is None or tokenizer.convert_ids_to_tokens(end) != tokenizer.eos_token:
        return frozenset()
    return frozenset([end])


def _twins(sources: Sequence[Source]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of at least two sources with the same weights. A group lists the indices of its sources."""
    firsts = _firsts(sources)
    groups = [tuple(index for index, first in enumerate(firsts) if first == each) for each in dict.fromkeys(firsts)]
    return tuple(group for group in groups if len(group) > 1)


def _name_apart(lineup: Lineup) -> None:
    """Add numbers to equal names of members, so that statistics are unambiguous."""
    names = lineup.names
    for index, member in enumerate(lineup.members):
        if names.count(member.name) > 1:
            member.name = f"{names[index]}#{names[: index + 1].count(names[index])}"


def _sampling(lineup: Lineup) -> dict[str, Any]:
    """Return the sampling values of the first member, draft models excluded, that has usable ones. Warn of invalid values."""
    for member in (lineup.members[index] for index in lineup.combined):
        found, wrong = usable(member.sampling)
        for problem in wrong:
            warnings.warn(f"generation_config of {member.name}: {problem}", stacklevel=4)
        if found:
            return found
    return {}


def _require_one_warp(lineup: Lineup) -> None:
    """Raise MemberError if only some members warp their own logits: decoding warps the logits of all members or of none."""
    themselves = [member.name for member in lineup.members if member.warps]
    others = [member.name for member in lineup.members if not member.warps]
    if themselves and others:
        raise MemberError(
            f"member {themselves[0]} warps its laws itself and member {others[0]} does not; combine members of one kind"
        )


def _vocabulary(lineup: Lineup, tokenizers: Sequence[Any]) -> Vocabulary:
    """Return the common vocabulary, and warn of tokens that only some members know. Raise MemberError if there is none."""
    vocabulary = _common(lineup, tokenizers, lineup.everyone)
    if lineup.drafters and _common(lineup, tokenizers, lineup.combined) != vocabulary:
        raise MemberError(f"draft model {lineup.names[-1]} lacks tokens that the members share; take one that has them")
    if vocabulary.partial:
        tokens = ", ".join(vocabulary.partial)
        warnings.warn(f"tokens that only some members know get no mass: {tokens}", stacklevel=4)
    return vocabulary


def _common(lineup: Lineup, tokenizers: Sequence[Any], indices: Sequence[int]) -> Vocabulary:
    members = [lineup.members[index] for index in indices]
    return common(
        [member.name for member in members],
        [tokenizers[index] for index in indices],
        [member.vocabulary for member in members],
    )
