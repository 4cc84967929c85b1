"""The laws of members at open positions, and the inputs of a combination at these positions.

A member's law at a position is computed once. It is kept with the member's scores until the position is committed or
discarded. Proposals, targets, early decisions and measurements read the kept law. A kept law must not be changed; code
that needs a changed law makes a copy. The laws of rows with the same warp are computed together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unisono.combine.base import Combination
from unisono.combine.positions import GivenScores, MemberScores, Positions
from unisono.decoding.frontier import Frontier, Place, Said, joined
from unisono.decoding.spec import Task
from unisono.frozen import quick
from unisono.sampling.logits_edits import EditedWarp, Edits
from unisono.sampling.warp import AnyWarp, Warp


@dataclass(frozen=True, eq=False)
class RowLaws:
    """Turns the members' scores into laws in one row. A raw law has temperature 1 and no edits, masks or truncation.

    members: the number of members in the combination. edits: the row's edits of logits. loglikelihood: one float64
    tensor per member, with the member's raw log-probability of each committed token. The list is empty if the
    combination does not read these log-probabilities.
    """

    task: Task
    combination: Combination
    members: int
    frontier: Frontier
    edits: Edits
    loglikelihood: list[Tensor] = field(default_factory=list)

    @cached_property
    def plain(self) -> bool:
        """Whether the same warp applies at all positions, because no edit or mask changes the logits."""
        return self.task.edits.nothing and self.frontier.constraint is None

    @cached_property
    def on_host(self) -> bool:
        """Whether proposed tokens must be on the host, because edits, masks or the combination read them."""
        return not self.plain or bool(self.combination.reads)

    @cached_property
    def law_is_raw(self) -> bool:
        """Whether a kept law equals the raw law. This needs no edits, no mask, and a default warp or temperature 0."""
        return self.plain and (self.task.warp.greedy or self.task.warp == Warp())

    @cached_property
    def key(self) -> object:
        """A key for grouping rows: rows with equal keys may be warped together."""
        return self.task.warp if self.plain else self

    @cached_property
    def target_key(self) -> object:
        """A key for grouping rows: target laws of rows with equal keys may be computed together.

        The hash is the first entry. So keys with different hashes are compared without comparing combinations.
        """
        task = self.task
        key = self.combination, self.key, task.logprobs is not None, task.processed, bool(task.given)
        return hash(key), *key

    def warp(self, offsets: Sequence[int]) -> AnyWarp:
        """Return the function that turns logits into laws. The function takes one row of logits per open position."""
        if self.plain:
            return self.task.warp
        prefixes = [self.tokens(offset) for offset in offsets] if not self.task.edits.nothing else []
        masks = None
        if self.frontier.constraint is not None:
            masks = torch.stack([self.frontier.mask(offset) for offset in offsets])
        return EditedWarp(self.task.warp, self.edits, self.task.prompt, prefixes, masks)

    def tokens(self, offset: int) -> list[int]:
        """Return the generated tokens before an open position, including open proposals."""
        return [*self.frontier.committed, *(int(each.token) for each in self.frontier.proposals[:offset])]

    @cached_property
    def prompt_loglikelihood(self) -> list[Tensor]:
        """One tensor per member with the raw log-probabilities of the member's prompt, without the first token.

        The values are computed before the row starts.
        """
        return [torch.tensor(values, dtype=torch.float64) for values in self.task.prompt_loglikelihood]

    def extend(self, member: int, values: Sequence[float]) -> None:
        """Append the member's raw log-probabilities of newly committed tokens."""
        added = torch.tensor(values, dtype=torch.float64)
        self.loglikelihood[member] = torch.cat([self.loglikelihood[member], added])

    def likelihood(self, member: int, offsets: Sequence[int]) -> list[Tensor]:
        """Return one float64 tensor per position: the member's raw log-probabilities of all earlier tokens."""
        count = max(offsets)
        known = self.loglikelihood[member]
        if count:
            proposed = [int(each.token) for each in self.frontier.proposals[:count]]
            said = self.frontier.said[member][:count]
            known = torch.cat([known, log_probabilities(said, proposed).to(known.device)])
        return [known[: self.frontier.position + offset] for offset in offsets]


def log_probabilities(said: Sequence[Said], tokens: Sequence[int] | Tensor) -> Tensor:
    """Return a float64 tensor [N] with the raw log-probability of one given token per position."""
    if said[0].scores.raw is not None:
        logs = joined([(each.scores.raw, each.index) for each in said if each.scores.raw is not None]).double().log()
    else:
        logs = torch.log_softmax(joined([each.logits for each in said]).double(), -1)
    ids = torch.as_tensor(tokens, device=logs.device)
    return logs.gather(-1, ids.unsqueeze(-1))[:, 0]


@quick
@dataclass(frozen=True)
class Span:
    """Open positions of one row, as offsets from the first position that is not committed."""

    laws: RowLaws
    offsets: Sequence[int]


Cell = tuple[RowLaws, int, Said]  # a row, the offset of an open position, and the scores of one member there


class KeptScores:
    """An implementation of `MemberScores` that reads kept scores at N positions of rows with equal `RowLaws.key`."""

    def __init__(self, cells: Sequence[Cell], device: torch.device | None = None) -> None:
        self._cells, self._device = cells, device

    @property
    def device(self) -> torch.device:
        return self._cells[0][2].scores.logits.device

    @cached_property
    def logits(self) -> Tensor:
        return self._placed(joined([said.logits for _, _, said in self._cells]))

    @cached_property
    def law(self) -> Tensor:
        missing = [cell for cell in self._cells if cell[2].law is None]
        if missing:
            made = self._warp(missing)(joined([said.logits for _, _, said in missing]))
            for index, (_, _, said) in enumerate(missing):
                said.law = made, index
            if len(missing) == len(self._cells):
                return self._placed(made)
        return self._placed(joined([said.law for _, _, said in self._cells if said.law is not None]))

    @cached_property
    def raw(self) -> Tensor:
        missing = [said for _, _, said in self._cells if said.raw is None]
        if missing and self._cells[0][0].law_is_raw:
            _ = self.law
            for said in missing:
                said.raw = said.law
        elif missing:
            made = Warp()(joined([said.logits for said in missing]))
            for index, said in enumerate(missing):
                said.raw = made, index
        return self._placed(joined([said.raw for _, _, said in self._cells if said.raw is not None]))

    def best(self) -> Tensor:
        """Return a tensor [N] with the most probable token at each position, for temperature 0."""
        wanted = [(said.scores.wanted, said.index) for _, _, said in self._cells if said.scores.wanted is not None]
        if wanted:
            return joined(wanted)
        # With edits, the law at temperature 1 is computed anyway, and it has the same argmax as the edited logits
        return (self.logits if self._cells[0][0].plain else self.law).argmax(-1)

    def _warp(self, cells: Sequence[Cell]) -> AnyWarp:
        laws = cells[0][0]
        warp: AnyWarp = laws.task.warp if laws.plain else laws.warp([offset for _, offset, _ in cells])
        return warp.untempered() if warp.greedy else warp

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor if self._device is None else tensor.to(self._device)


def cells(spans: Iterable[Span], member: int, instead: Sequence[int] = ()) -> list[Cell]:
    """Return the member's scores at the positions, as one cell per position.

    Args:
        instead: members whose scores replace missing scores. The first of these members that has scored is used.
    """
    found = []
    for span in spans:
        laws = span.laws
        said = laws.frontier.said
        own = said[member]
        for offset in span.offsets:
            if len(own) > offset:
                found.append((laws, offset, own[offset]))
            else:
                source = next(each for each in instead if len(said[each]) > offset)
                found.append((laws, offset, said[source][offset]))
    return found


def read(spans: Sequence[Span], heard: Sequence[int]) -> Positions:
    """Return the inputs of one combination at the positions in `spans`, whose rows share the combination and the key.

    Args:
        heard: the members whose scores are read. Missing scores are filled with scores of another member in `heard`.
    """
    laws = spans[0].laws
    if not heard:
        return Positions((), frozenset(), **_more(spans, {}))
    kept = {member: KeptScores(cells(spans, member, heard)) for member in heard}
    first = kept[heard[0]]
    if len({each.device for each in kept.values()}) > 1:
        kept = {member: KeptScores(each._cells, first.device) for member, each in kept.items()}
    scores: list[MemberScores] = [kept.get(member, first) for member in range(laws.members)]
    return Positions(scores, frozenset(heard), **_more(spans, kept))


def read_raw(spans: Sequence[Span], heard: Sequence[int], widened: bool) -> Positions:
    """Return the inputs of a combination for log-probabilities: raw laws instead of warped laws.

    Args:
        heard: see `read`. widened: whether to compute in float64, so that small probabilities do not become 0.
    """
    laws = spans[0].laws
    kept = {member: KeptScores(cells(spans, member, heard)) for member in heard}
    device = kept[heard[0]].device
    given = {member: GivenScores(_raw_logits(each, widened).to(device), Warp()) for member, each in kept.items()}
    scores: list[MemberScores] = [given.get(member, given[heard[0]]) for member in range(laws.members)]
    return Positions(scores, frozenset(heard), **_more(spans, kept))


def _raw_logits(kept: KeptScores, widened: bool) -> Tensor:
    own = kept._cells[0][2].scores.raw is None
    logits = kept.logits if own else kept.raw.log()
    return logits.double() if widened and logits.dtype != torch.float64 else logits.clone()


def _more(spans: Sequence[Span], kept: dict[int, KeptScores]) -> dict[str, Any]:
    """Return the further arguments of `Positions` that the combination reads: tokens, likelihoods and features."""
    laws = spans[0].laws
    reads, members = laws.combination.reads, range(laws.members)
    if not reads:
        return {}
    places = [(span.laws, offset) for span in spans for offset in span.offsets]
    found: dict[str, Any] = {}
    if "tokens" in reads:
        found["tokens"] = [own.tokens(offset) for own, offset in places]
        found["prompt"] = [own.task.prompt for own, _ in places]
    if "loglikelihood" in reads:
        found["loglikelihood"] = [
            [each for span in spans for each in span.laws.likelihood(member, span.offsets)] for member in members
        ]
    if "prompt_loglikelihood" in reads:
        found["prompt_loglikelihood"] = [[own.prompt_loglikelihood[member] for own, _ in places] for member in members]
    if "features" in reads:
        device = next((each.device for each in kept.values()), torch.device("cpu"))
        found["features"] = [_features(places if m in kept else (), m).to(device) for m in members]
    return found


def _features(places: Sequence[tuple[RowLaws, int]], member: int) -> Tensor:
    """Return the member's hidden states [N, D], with zeros at positions that the member has not scored."""
    said = [(own.frontier.said[member], offset) for own, offset in places]
    found = [_feature(each[offset]) if offset < len(each) else None for each, offset in said]
    known = next((place for place in found if place is not None), None)
    if known is None:
        return torch.zeros(len(found), 0)
    missing = torch.zeros_like(known[0][:1]), 0
    return joined([missing if place is None else place for place in found])


def _feature(said: Said) -> Place | None:
    return None if said.scores.features is None else (said.scores.features, said.index)
