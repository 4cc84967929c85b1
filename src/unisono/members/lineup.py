"""Who takes part in an ensemble, and in which role."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unisono.members.base import Context, Member
from unisono.sampling.warp import Warp

HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Lineup:
    """The members of the combination, and who else proposes.

    members: those of the combination as listed, and behind them those that only propose. drafters: how many these are.
    proposers: what else proposes, without slots and scores, besides the text (see `decoding.drafting.Proposer`). twins:
    groups of members, by index, whose work one call of `score` can hold, since they share weights and slot numbers.
    sampling: values of `SamplingParams` for a request that gives no parameters. ends: units that end a text for the
    members' tokenizers.
    """

    members: tuple[Member, ...]
    drafters: int = 0
    proposers: tuple[Any, ...] = ()
    twins: tuple[tuple[int, ...], ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict, hash=False)
    ends: frozenset[int] = frozenset()

    @property
    def everyone(self) -> range:
        """Indices of all members, drafters included."""
        return range(len(self.members))

    @property
    def combined(self) -> range:
        """Indices of the members that the combination is of."""
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
        """The names; those of members that only propose say so."""
        return [name if index in self.combined else f"{name} (drafts only)" for index, name in enumerate(self.names)]

    @property
    def deterministic(self) -> bool:
        """Whether all members score every row in forwards of its own."""
        return all(member.facts.get("deterministic") == "yes" for member in self.members)

    @property
    def rounding(self) -> str | None:
        """The half-precision type of a member in which a forward of other width may tip a near-tie; None if there is none."""
        types = [member.facts.get("dtype", "") for member in self.members]
        return None if self.deterministic else next((each for each in types if each in HALF), None)

    @property
    def parameters(self) -> list[int]:
        """How many weights each member has."""
        return [member.parameters for member in self.members]

    @property
    def vocabulary(self) -> int:
        """Size V of all laws."""
        return self.members[0].vocabulary

    @property
    def warps(self) -> bool:
        """Whether the members warp by themselves."""
        return self.members[0].warps

    def remaining(self, warp: Warp) -> Warp:
        """What is left of a warp for the core; nothing but the choice at temperature 0 where members warp by themselves."""
        return Warp(0 if warp.greedy else 1) if self.warps else warp

    @property
    def context_length(self) -> int | None:
        """The most that each member can hold; None if none has a limit."""
        return min((each.context_length for each in self.members if each.context_length is not None), default=None)

    @property
    def end_ids(self) -> frozenset[int]:
        """The units that end a text for some member of the combination, or for its tokenizer."""
        return self.ends.union(*(self.members[index].end_ids for index in self.combined))

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """All members, twins together, in the order of the first of each group."""
        return list(dict.fromkeys(self.together(index) for index in self.everyone))

    def together(self, member: int) -> tuple[int, ...]:
        """The group of twins that a member belongs to; itself if it has none."""
        return next((group for group in self.twins if member in group), (member,))

    @property
    def keeps(self) -> bool:
        """Whether some member's cache stays as large as it has grown when no slot is open."""
        return any(member.keeps for member in self.members)

    def places(self, contexts: Sequence[Context], units: int) -> list[int]:
        """Per member, how many places of its cache a slot needs for its context and so many units."""
        return [member.places(context, units) for member, context in zip(self.members, contexts, strict=True)]

    def memory(self, slots: int, places: Sequence[int]) -> int:
        """Bytes that the caches take with so many slots in each member; `places` of each slot, per member.

        Twins share one cache, in which every slot is as long as the longest.
        """
        return sum(
            self.members[group[0]].memory(slots * len(group), max(places[member] for member in group))
            for group in self.groups
        )
