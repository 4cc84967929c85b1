"""Drafting: proposers propose tokens for all rows whose turn asks for drafts, without waiting for a device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from unisono.decoding.laws import KeptScores, Span, cells
from unisono.decoding.policy import MemberLaws, Policy
from unisono.decoding.prompt_lookup import Lookup
from unisono.decoding.proposals import Draft, Name, Proposal
from unisono.decoding.row import Row
from unisono.decoding.targets import alike
from unisono.errors import ConfigurationError, UnisonoError, named
from unisono.sampling.noise import Purpose
from unisono.sampling.sampler import draw
from unisono.sampling.warp import AnyWarp
from unisono.transfer import known_tokens, on_host


@dataclass(frozen=True)
class GivenLaw:
    """A law from which a user-defined proposer wants to draw. The row's policy receives this object."""

    law: Tensor
    raw: Tensor


class OwnLaw:
    """The laws of one member at one position, read from scores that cover several rows."""

    def __init__(self, kept: KeptScores, index: int) -> None:
        self._kept, self._index = kept, index

    @property
    def law(self) -> Tensor:
        return self._kept.law[self._index]

    @property
    def raw(self) -> Tensor:
        return self._kept.raw[self._index]


@dataclass(frozen=True, eq=False)
class Seat:
    """A read-only view of one row. A proposer uses the view to propose tokens after the row's last proposal.

    proposer: the proposer's own name. steps: how many steps the proposer may take. choices: the random choices of this
    call, as pairs of a law and the chosen index. before: the random choices of an earlier call that failed. This call
    must make the same choices again.
    """

    row: Row
    proposer: Name
    steps: int
    choices: list[tuple[Tensor, int]] = field(default_factory=list)
    before: Sequence[tuple[Tensor, int]] = ()

    @property
    def tokens(self) -> list[int]:
        """The token ids of the prompt, the committed text and the open proposals. The property waits for the device."""
        return [*self.row.task.prompt, *self.row.frontier.committed, *self.open_tokens]

    @property
    def open_tokens(self) -> list[int]:
        """The token ids of the open proposals. The property waits for the device."""
        return [int(proposal.token) for proposal in self.open]

    @property
    def open(self) -> Sequence[Proposal]:
        return self.row.frontier.proposals

    @property
    def room(self) -> int:
        """The number of tokens that may still be proposed before the row reaches its token limit."""
        return self.row.frontier.room

    @property
    def text(self) -> Lookup:
        return self.row.text

    @property
    def warp(self) -> AnyWarp:
        """The function that turns logits [1, V] at the next position into a law."""
        return self.row.laws.warp([self.row.frontier.open])

    def scores(self, member: int) -> KeptScores | None:
        """Return a member's scores at the position after the row's last proposal.

        The fields `logits`, `law` and `raw` of the scores are tensors [1, V]. Return None if the member has not scored
        this position.
        """
        if self.row.frontier.scored(member) <= self.row.frontier.open:
            return None
        return KeptScores(cells([Span(self.row.laws, [self.row.frontier.open])], member))

    def willing(self, scores: MemberLaws) -> bool:
        """Return whether the row's policy allows drawing a proposal from these laws."""
        return bool(self._answer(lambda policy: policy.draws(self.open, self.proposer, scores)))

    def copies(self, run: int) -> int:
        """Return the maximum number of tokens to copy. The last `run` tokens of the text also occur earlier in it."""
        return self._answer(lambda policy: max(0, policy.copies(self.open, run)))

    def goes_on(self) -> bool:
        """Return whether the row's policy wants another step of the proposer."""
        return bool(self._answer(lambda policy: policy.goes_on(self.open, self.proposer)))

    def _answer(self, ask: Callable[[Policy], int]) -> int:
        """Return the result of `ask` for the row's policy. If `ask` raises an error, end only this row and return 0."""
        try:
            return self.row.asked(ask)
        except UnisonoError as error:
            self.row.fail(error)
            return 0

    def draw(self, law: Tensor, behind: int = 0) -> int | None:
        """Return a token drawn from `law` [V]. Return None if the row's policy does not allow the proposal.

        Under the verification `coupled`, the draw uses the same noise as the draw from the target law.

        Args:
            behind: the number of earlier tokens in the same draft.
        """
        if not self.willing(GivenLaw(law, law)):
            return None
        purpose = self.row.method.verification.proposing
        return self._choose(law, purpose, self.row.frontier.open + behind)

    def pick(self, law: Tensor) -> int:
        """Return an index drawn from `law` [N], for example of token pairs. Allowed once per position and round."""
        return self._choose(law, Purpose.PICK, self.row.frontier.open)

    def _choose(self, law: Tensor, purpose: Purpose, offset: int) -> int:
        """Return an index drawn from a law. Use the choices in `before` first: a noise key may be used only once."""
        if len(self.choices) < len(self.before):
            given, chosen = self.before[len(self.choices)]
            if not torch.equal(law, given):
                raise ConfigurationError(f"proposer {self.proposer} chose by another law when it was asked again")
        else:
            chosen = int(draw(law.unsqueeze(0), purpose, [self.row.names(offset)]))
        self.choices.append((law, chosen))
        return chosen


class Proposer(Protocol):
    """Proposes tokens for rows. A proposer may read existing scores of members, but cannot request new scores.

    name: the name of the proposer in turns and in statistics.
    """

    @property
    def name(self) -> str: ...

    def propose(self, seats: Sequence[Seat]) -> Sequence[Draft | None]:
        """Return one entry per row. The entry is a draft, or None if the row gets no draft.

        The engine may call this method several times in one turn, until the proposer has used all steps of the turn.
        """
        ...


class MemberProposer:
    """Proposes one token per step from the scores of a member."""

    def __init__(self, member: int) -> None:
        self._member = member

    def propose(self, seats: Sequence[Seat]) -> list[Draft | None]:
        drafts: dict[Row, Draft] = {}
        for group in alike([seat.row for seat in seats], lambda row: (row.laws.key, row.method.verification.proposing)):
            own = [seat for seat in seats if seat.row in set(group)]
            try:
                drafts.update(self._drafted(own))
            except Exception as error:  # a row with its own processors is alone in its group
                for row in group:
                    row.fail(error)
        return [drafts.get(seat.row) for seat in seats]

    def _drafted(self, seats: Sequence[Seat]) -> dict[Row, Draft]:
        kept = KeptScores(cells([Span(seat.row.laws, [seat.row.frontier.open]) for seat in seats], self._member))
        places = [place for place, seat in enumerate(seats) if seat.willing(OwnLaw(kept, place))]
        if not places:
            return {}
        chosen = [seats[place].row for place in places]
        laws: list[Tensor | None] = [None] * len(chosen)
        if seats[0].row.task.warp.greedy:
            tokens = kept.best()[places] if len(places) < len(seats) else kept.best()
        else:
            law = _possible(kept.law if len(places) == len(seats) else kept.law[places])
            tokens = draw(law, chosen[0].method.verification.proposing, [row.names() for row in chosen])
            laws = [*law.unbind()]
        drawn = zip(chosen, known_tokens(tokens), laws, strict=True)
        return {row: Draft((token,), (law,), self._member) for row, token, law in drawn}


def _possible(laws: Tensor) -> Tensor:
    """Return the laws [R, V]. A uniform law replaces each law that has no possible token (nan).

    The target law of the text does not change, because verification uses the law that is stored with the proposal.
    """
    if on_host(laws) and not bool(laws[:, 0].isnan().any()):
        return laws
    return laws.nan_to_num(1 / laws.shape[-1])


class TextProposer:
    """Finds an earlier occurrence of the row's last tokens, and proposes the tokens after this occurrence."""

    name = "lookup"

    def propose(self, seats: Sequence[Seat]) -> list[Draft | None]:
        return [self._found(seat) for seat in seats]

    def _found(self, seat: Seat) -> Draft | None:
        open = seat.open_tokens
        found, run = seat.text.find(open, min(seat.steps, seat.room))
        found = found[: seat.copies(run)] if found else []
        if not found or any(map(seat.row.frontier.is_end, open)):
            return None
        return Draft(found, [None] * len(found), self.name, seat.steps)


TEXT = TextProposer()


def propose(name: Name, wanted: dict[Row, int], score: Callable[[int, Sequence[Row]], Sequence[Row]]) -> None:
    """Call a proposer until the proposer has used `wanted[row]` steps for each row.

    If drafting for one row raises an error, only this row ends.

    Args:
        score: a function that runs a member on rows. It returns the rows whose last proposal the member has scored.
    """
    left = {row: steps for row, steps in wanted.items() if steps > 0}
    while left := {row: steps for row, steps in left.items() if not (row.finished or row.frontier.closed)}:
        drafts = _drafts(name, [Seat(row, name, steps) for row, steps in left.items()])
        seats = [
            Seat(row, name, left[row] - draft.steps)
            for row, draft in drafts.items()
            if _extended(row, name, draft, left[row])
        ]
        behind = _behind(name, left)
        left = {seat.row: seat.steps for seat in seats if seat.steps > 0 and seat.goes_on()} | behind
        if left and isinstance(name, int):
            scored = set(score(name, list(left)))
            left = {row: steps for row, steps in left.items() if row in scored}


def _behind(name: Name, left: dict[Row, int]) -> dict[Row, int]:
    """Return the rows, with their left steps, whose last committed token the member still has to read to go on."""
    if not isinstance(name, int):
        return {}
    return {
        row: steps - 1
        for row, steps in left.items()
        if steps > 1 and row.policy.reads_on and not row.frontier.open and not row.frontier.scored(name)
    }


def _drafts(name: Name, seats: Sequence[Seat]) -> dict[Row, Draft]:
    proposer = _proposer(seats[0].row, name)
    if isinstance(name, int):
        seats = [seat for seat in seats if seat.row.frontier.scored(name) > seat.row.frontier.open]
        if not seats:
            return {}
    try:
        found = list(proposer.propose(seats))
        if len(found) != len(seats):
            raise ConfigurationError(f"proposer {name} must return {len(seats)} drafts, not: {len(found)}")
    except Exception as error:  # raised by user code: try each row alone
        if len(seats) > 1:
            alone = [_drafts(name, [replace(seat, choices=[], before=seat.choices)]) for seat in seats]
            return {row: draft for drafts in alone for row, draft in drafts.items()}
        seats[0].row.fail(named(f"proposer {name}", error))
        return {}
    return {seat.row: draft for seat, draft in zip(seats, found, strict=True) if draft is not None}


def _proposer(row: Row, name: Name) -> Proposer | MemberProposer:
    if isinstance(name, int):
        return MemberProposer(name)
    return next((each for each in row.lineup.proposers if each.name == name), TEXT)


def _extended(row: Row, name: Name, draft: Draft, steps: int) -> bool:
    try:
        if not isinstance(name, int):
            _require_draft(row, name, draft, steps)
        row.extend(draft)
    except Exception as error:  # the draft, or the row's constraint
        row.fail(named(f"proposer {name}", error))
    return not row.finished


def _require_draft(row: Row, name: str, draft: Draft, steps: int) -> None:
    """Raise ConfigurationError for an invalid draft of a user-defined proposer."""
    problem = f"proposer {name} gave a draft that cannot be taken: "
    if not isinstance(draft, Draft) or draft.proposer != name:
        found = repr(draft.proposer) if isinstance(draft, Draft) else type(draft).__name__
        raise ConfigurationError(f"{problem}it must be a Draft whose proposer is {name!r}, not: {found}")
    if not 1 <= draft.steps <= steps:
        raise ConfigurationError(f"{problem}{draft.steps} steps, where 1 to {steps} were asked for")
    if len(draft.tokens) != len(draft.laws) or not len(draft.tokens):
        raise ConfigurationError(f"{problem}{len(draft.tokens)} tokens with {len(draft.laws)} laws")
    for token, law in zip(draft.tokens, draft.laws, strict=True):
        if not 0 <= int(token) < row.vocabulary:
            raise ConfigurationError(f"{problem}token {int(token)} is outside of the vocabulary of {row.vocabulary}")
        if law is not None and (law.shape != (row.vocabulary,) or not bool(law[int(token)] > 0)):
            raise ConfigurationError(f"{problem}token {int(token)} has no mass in the law that it names")
