"""Drafting: proposers propose tokens for all rows whose turn asks for drafts, without waiting for a device."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan
from typing import Protocol

from torch import Tensor

from unisono.decoding.laws import KeptScores, Span, cells
from unisono.decoding.proposals import Draft, Name
from unisono.decoding.row import Row
from unisono.decoding.seat import OwnLaw, Seat
from unisono.decoding.targets import alike
from unisono.errors import ConfigurationError, named
from unisono.sampling.sampler import draw
from unisono.transfer import known_tokens, on_host


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
        for group in alike(seats, lambda seat: (seat.row.laws.key, seat.row.method.verification.proposing)):
            try:
                drafts.update(self._drafted(group))
            except Exception as error:  # a row with its own processors is alone in its group
                for seat in group:
                    seat.row.fail(error)
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
    if on_host(laws) and not isnan(sum(laws[:, 0].tolist())):
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
        drafts = _drafts(name, [Seat(row, name, steps, []) for row, steps in left.items()])
        behind = _behind(name, left)
        extended = [row for row, draft in drafts.items() if _extended(row, name, draft, left[row])]
        left = {row: left[row] - drafts[row].steps for row in extended if left[row] > drafts[row].steps}
        left = {row: steps for row, steps in left.items() if Seat(row, name, steps, []).goes_on()}
        left |= behind if left else {}
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
