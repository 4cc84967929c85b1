"""Load the members that a user lists, and return them as a lineup with a common vocabulary."""

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

# Options of `Ensemble.load` that are not options of a member
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
    """Load members. Return their lineup and the object that prepares their prompts.

    All members are restricted to the common vocabulary. Members that differ only in name and prompt are twins: they
    share weights and a KV cache.

    Args:
        options: name -> value of member options. A member's own value of an option has priority.
        before: the members of other ensembles. If possible, a new member shares the weights of a member in this list.
            Newly loaded members are added to the list.
        draft: a member that only proposes tokens. It becomes the last member of the lineup. The vocabulary of the
            draft model must contain all tokens that the other members share.
        generation_config: "auto" to use the sampling values in the members' generation configs, "off" to ignore them.
        threads: number of threads that run one torch operation, for the whole process. None changes nothing.

    Raises:
        MemberError: a model cannot be loaded, does not fit in memory or has another vocabulary. Or some members apply
            temperature and truncation themselves, and other members do not.
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
    """Load one model as two members for the combination `guidance`. The second member reads the negative prompt.

    Return the lineup and the object that prepares prompts.

    Args:
        before, generation_config: see `load_members`.
    """
    unguided = replace(source, name=f"{source.called} unguided")
    return load_members([source, unguided], {}, before, generation_config=generation_config)


def with_proposers(lineup: Lineup, proposers: Sequence[Any]) -> Lineup:
    """Return a copy of the lineup with further proposers that are not members (see `decoding.drafting.Proposer`).

    Raises:
        ConfigurationError: a proposer has no name, has the name of another proposer, or has no method `propose`.
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
    """Return half of the smallest free memory of any member's device, in bytes: the default size of the KV caches."""
    return min(free_memory(member.device) for member in lineup.members) // 2


def _load_all(sources: Sequence[Source], before: Loaded) -> list[tuple[Member, Any]]:
    """Load the sources. Return a member and a tokenizer per source. Sources with equal weights share the weights."""
    found: list[tuple[Member, Any]] = []
    for index, (source, first) in enumerate(zip(sources, _firsts(sources), strict=True)):
        found.append(_load(source, before) if first == index else _twin(source, *found[first]))
    return found


def _load(source: Source, before: Loaded) -> tuple[Member, Any]:
    """Return a member and its tokenizer. Load the weights only if `before` has no member with the same weights."""
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
    """Add numbers to the names of members with equal names, so that every name is unique."""
    names = lineup.names
    for index, member in enumerate(lineup.members):
        if names.count(member.name) > 1:
            member.name = f"{names[index]}#{names[: index + 1].count(names[index])}"


def _sampling(lineup: Lineup) -> dict[str, Any]:
    """Return the valid sampling values in the generation config of the first member that has such values.

    Members that only propose are ignored. Invalid values give warnings.
    """
    for member in (lineup.members[index] for index in lineup.combined):
        found, wrong = usable(member.sampling)
        for problem in wrong:
            warnings.warn(f"generation_config of {member.name}: {problem}", stacklevel=4)
        if found:
            return found
    return {}


def _require_one_warp(lineup: Lineup) -> None:
    """Raise MemberError if some members apply the warp to their logits themselves and other members do not."""
    themselves = [member.name for member in lineup.members if member.warps]
    others = [member.name for member in lineup.members if not member.warps]
    if themselves and others:
        raise MemberError(
            f"member {themselves[0]} warps its laws itself and member {others[0]} does not; combine members of one kind"
        )


def _vocabulary(lineup: Lineup, tokenizers: Sequence[Any]) -> Vocabulary:
    """Return the common vocabulary. Give a warning if some tokens are not in the vocabularies of all members.

    Raise MemberError if the members have no common vocabulary, or if a draft model lacks tokens that the others share.
    """
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
