"""The members of an ensemble and their roles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unisono.members.base import Context, Member
from unisono.sampling.warp import Warp

HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Lineup:
    """The members of an ensemble, and proposers that are not members.

    members: first the members of the combination in the user's order, then `drafters` members that only propose tokens.
    proposers: the proposers that are not members (see `decoding.drafting.Proposer`). The list does not contain the
    built-in proposer "lookup", which copies from the text. twins: groups of member indices. The members of a group
    share weights and slot numbers, so one call of `score` accepts work for all members of the group. sampling: default
    values for the fields of `SamplingParams`. ends: units that end a text according to the tokenizers.
    """

    members: tuple[Member, ...]
    drafters: int = 0
    proposers: tuple[Any, ...] = ()
    twins: tuple[tuple[int, ...], ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict, hash=False)
    ends: frozenset[int] = frozenset()

    @property
    def everyone(self) -> range:
        """Return the indices of all members, including the members that only propose."""
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
        """The names of the proposers that are not members. The first one is "lookup", which copies from the text."""
        return "lookup", *(proposer.name for proposer in self.proposers)

    @property
    def labels(self) -> list[str]:
        """Return the names of all members. The name of a member that only proposes ends with "(drafts only)"."""
        return [name if index in self.combined else f"{name} (drafts only)" for index, name in enumerate(self.names)]

    @property
    def deterministic(self) -> bool:
        """Return whether every member runs each row in a separate forward pass."""
        return all(member.facts.get("deterministic") == "yes" for member in self.members)

    @property
    def rounding(self) -> str | None:
        """Return the dtype of the first member in half precision. Return None if no member is in half precision.

        Also return None if all members are deterministic. In half precision, rounding errors depend on the size of the
        forward pass. These errors may change which of two nearly equal logits is larger.
        """
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
        """Return whether the members, and not the decode loop, apply the warp to the logits."""
        return self.members[0].warps

    def remaining(self, warp: Warp) -> Warp:
        """Return the warp that the decode loop applies to the members' logits.

        If the members do not apply `warp` themselves, the decode loop applies `warp`. Otherwise the decode loop applies
        argmax if `warp` is greedy, and softmax if `warp` is not greedy.
        """
        return Warp(0 if warp.greedy else 1) if self.warps else warp

    @property
    def context_length(self) -> int | None:
        """Return the smallest context length of all members; None if no member has a limit."""
        return min((each.context_length for each in self.members if each.context_length is not None), default=None)

    @property
    def end_ids(self) -> frozenset[int]:
        """Return the units that end a text, according to the tokenizers and to the members of the combination."""
        return self.ends.union(*(self.members[index].end_ids for index in self.combined))

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Return the groups of twins, sorted by their first member. A member without twins forms a group of one."""
        return list(dict.fromkeys(self.together(index) for index in self.everyone))

    def together(self, member: int) -> tuple[int, ...]:
        """Return the sorted indices of a member and all its twins."""
        return next((group for group in self.twins if member in group), (member,))

    @property
    def keeps(self) -> bool:
        return any(member.keeps for member in self.members)

    def places(self, contexts: Sequence[Context], units: int) -> list[int]:
        """Return, for each member, how many cache places a slot needs for the member's context and `units` units."""
        return [member.places(context, units) for member, context in zip(self.members, contexts, strict=True)]

    def memory(self, slots: int, places: Sequence[int]) -> int:
        """Return the bytes of all caches. Each member has `slots` slots. A slot of member i has `places[i]` places."""
        return sum(
            self.members[group[0]].memory(slots * len(group), max(places[member] for member in group))
            for group in self.groups
        )
