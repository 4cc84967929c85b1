"""The members of an ensemble and their roles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unisono.members.base import Context, Member
from unisono.sampling.warp import Warp

HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Lineup:
    """The members that are combined and everything else that proposes tokens.

    members: first the members of the combination in the listed order, then `drafters` members that only propose.
    proposers: what else proposes, with neither slots nor scores (see `decoding.drafting.Proposer`); looking up the
    text is always there. twins: groups of member indices; members of a group share weights and slot numbers, so one call of
    `score` accepts work for all of them. sampling: values of `SamplingParams` for requests that do not set them. ends: units
    that end a text according to the tokenizers.
    """

    members: tuple[Member, ...]
    drafters: int = 0
    proposers: tuple[Any, ...] = ()
    twins: tuple[tuple[int, ...], ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict, hash=False)
    ends: frozenset[int] = frozenset()

    @property
    def everyone(self) -> range:
        """Return the indices of all members, drafters included."""
        return range(len(self.members))

    @property
    def combined(self) -> range:
        """Return the indices of the members of the combination."""
        return range(len(self.members) - self.drafters)

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    @property
    def proposer_names(self) -> tuple[str, ...]:
        """The names of what proposes without being a member; the first one is the text."""
        return "lookup", *(proposer.name for proposer in self.proposers)

    @property
    def labels(self) -> list[str]:
        """Return the names of all members, with a note on the members that only propose."""
        return [name if index in self.combined else f"{name} (drafts only)" for index, name in enumerate(self.names)]

    @property
    def deterministic(self) -> bool:
        """Return whether every member runs each row in a forward of its own."""
        return all(member.facts.get("deterministic") == "yes" for member in self.members)

    @property
    def rounding(self) -> str | None:
        """Return the dtype of a member in half precision, where forwards of other widths may flip near-ties; else None."""
        types = [member.facts.get("dtype", "") for member in self.members]
        return None if self.deterministic else next((each for each in types if each in HALF), None)

    @property
    def parameters(self) -> list[int]:
        """Return the number of weights of each member."""
        return [member.parameters for member in self.members]

    @property
    def vocabulary(self) -> int:
        """Return the size V of the common vocabulary."""
        return self.members[0].vocabulary

    @property
    def warps(self) -> bool:
        """Return whether the members apply the warp to their logits themselves."""
        return self.members[0].warps

    def remaining(self, warp: Warp) -> Warp:
        """Return the warp for the decode loop: `warp`, or only softmax or argmax if the members warp by themselves."""
        return Warp(0 if warp.greedy else 1) if self.warps else warp

    @property
    def context_length(self) -> int | None:
        """Return the smallest context length of all members; None if no member has a limit."""
        return min((each.context_length for each in self.members if each.context_length is not None), default=None)

    @property
    def end_ids(self) -> frozenset[int]:
        """Return the units that end a text for a member of the combination or for a tokenizer."""
        return self.ends.union(*(self.members[index].end_ids for index in self.combined))

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Return the groups of twins, sorted by their first member; a member without twins is a group of one."""
        return list(dict.fromkeys(self.together(index) for index in self.everyone))

    def together(self, member: int) -> tuple[int, ...]:
        """Return the group of twins that contains this member; a group of one if it has no twins."""
        return next((group for group in self.twins if member in group), (member,))

    @property
    def keeps(self) -> bool:
        return any(member.keeps for member in self.members)

    def places(self, contexts: Sequence[Context], units: int) -> list[int]:
        """Return, for each member, how many places of its cache a slot needs for its context and `units` units."""
        return [member.places(context, units) for member, context in zip(self.members, contexts, strict=True)]

    def memory(self, slots: int, places: Sequence[int]) -> int:
        """Return the bytes of all caches with `slots` slots per member. places: size of a slot in each member."""
        return sum(
            self.members[group[0]].memory(slots * len(group), max(places[member] for member in group))
            for group in self.groups
        )
