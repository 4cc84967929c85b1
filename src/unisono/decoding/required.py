"""Required members: the members that must score an open position before the position can be decided."""

from collections.abc import Iterator

import torch

from unisono.combine.base import Certainty, member_odds, static_odds
from unisono.decoding.laws import RowLaws, Span, read
from unisono.decoding.spec import Method
from unisono.sampling.noise import Noise, Purpose

AHEAD = 16  # positions after the last proposal for which a policy may know the drawn member
Heard = tuple[tuple[int, ...], bool]  # the members that have scored a position, and whether it has a proposal


class Needs:
    """The members that the open positions of one row need. Offset 0 is the first position that is not committed."""

    def __init__(self, method: Method, laws: RowLaws, noise: Noise) -> None:
        combination, task = method.combination, laws.task
        likelihood = "loglikelihood" in combination.reads
        self.all = tuple(range(laws.members)) if likelihood else combination.needed(laws.members)
        self.draws = combination.drawn_by is not None and not task.warp.greedy
        self.odds = static_odds(combination, laws.members, task.warp)
        raw = task.logprobs is not None and not task.processed
        self._whole = raw or likelihood  # forced positions are scored too
        self._early = method.schedule.lazy and task.logprobs is None and not likelihood
        self._lazy = self._early
        self._alike = not (self.draws and self._lazy)  # whether all positions need all members in `all`
        self._laws, self._frontier, self._noise = laws, laws.frontier, noise
        self._odds = torch.tensor(self.odds, dtype=torch.float64)
        self._drawn: dict[int, int] = {}  # by position in the text: the member drawn for it
        self._heard: dict[int, Heard] = {}  # by position in the text: the members that had scored it in the last check
        self._fixed: set[int] = set()  # positions in the text whose law is known from the present scores
        self._certain: set[int] = set()  # positions in the text whose proposal is always accepted
        self.certainty: Certainty | None = None
        if self._early and not self.draws:
            self.certainty = combination.traits(task.warp).certainty

    def allow(self, lazy: bool) -> None:
        """Set whether a drawn member may decide a position before the other members have scored the position."""
        self._lazy = self._early and lazy
        self._alike = not (self.draws and self._lazy)

    def drawn(self, offset: int) -> int:
        """Return the member drawn for a position.

        Before the call, all members whose scores determine the odds must have scored the position.
        """
        position = self._frontier.position + offset
        if position not in self._drawn:
            self._drawn[position] = self._noise.draw(self._position_odds(offset), Purpose.MEMBER, position, 0)
        return self._drawn[position]

    def _position_odds(self, offset: int) -> torch.Tensor:
        if self.odds:
            return self._odds
        # Read these members only: the odds must not depend on which further members have scored
        combination = self._laws.combination
        positions = read([Span(self._laws, [offset])], combination.drawn_by or ())
        return member_odds(combination, positions, (1, self._laws.members))[0].double()

    def upcoming(self) -> tuple[int, ...]:
        """Return the members drawn for the open positions and some later positions.

        The tuple is empty if these members are not known in advance.
        """
        if not (self.draws and self._early) or self._laws.combination.drawn_by:
            return ()
        ahead = AHEAD if self.odds else 1  # odds that read the text need all earlier tokens
        most = min(self._frontier.open + ahead, self._frontier.room + self._frontier.open)
        first, drawn = self._frontier.position, self._drawn
        positions = range(first, first + most)
        return tuple([drawn[at] if at in drawn else self.drawn(at - first) for at in positions])

    def missing(self, offset: int) -> tuple[int, ...]:
        """Return the members that still have to score an open position before the position can be decided."""
        position = self._frontier.position + offset
        if position in self._fixed or position in self._certain or not self.counts(offset):
            return ()
        said = self._frontier.said
        return tuple([member for member in self._needed(offset) if len(said[member]) <= offset])

    def _needed(self, offset: int) -> tuple[int, ...]:
        if self._alike:
            return self.all
        readers = self._laws.combination.drawn_by or ()
        if any(self._frontier.scored(member) <= offset for member in readers):
            return readers
        return (self.drawn(offset),)

    def counts(self, offset: int) -> bool:
        """Return whether an open position must be scored. A forced token is scored only for log-probabilities."""
        return self._whole or not self._frontier.forced(offset)

    def unsure(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield pairs of the offset of an open position and the needed members that have scored it.

        Only positions that some, but not all, needed members have scored are yielded.

        A position is skipped if `learn` was already called for the position with the same members.
        """
        most = max(self._frontier.scored(member) for member in self.all)
        for offset in range(most):
            heard = tuple(member for member in self.all if self._frontier.scored(member) > offset)
            seen = self._heard.get(self._frontier.position + offset)
            if self.missing(offset) and seen != (heard, offset < self._frontier.open):
                yield offset, heard

    def learn(self, offset: int, heard: tuple[int, ...], fixed: bool, certain: bool) -> None:
        """Record facts about an open position that the members `heard` have scored.

        fixed: whether the scores of these members determine the target law. certain: whether the proposal is accepted
        for all possible scores of the other members.
        """
        position = self._frontier.position + offset
        self._heard[position] = heard, offset < self._frontier.open
        if fixed:
            self._fixed.add(position)
        elif certain:
            self._certain.add(position)

    def forget(self) -> None:
        """Discard all recorded facts, because a token was replaced. Keep the drawn members if the odds are fixed."""
        self._heard.clear()
        self._fixed.clear()
        self._certain.clear()
        drawn = self._drawn.items() if self.odds else ()
        self._drawn = {position: member for position, member in drawn if position >= self._frontier.position}

    def unscored(self, offset: int) -> bool:
        """Return whether the proposal at an open position is accepted without computing the target law."""
        return self._frontier.position + offset in self._certain

    def known(self, positions: int) -> int:
        """Return the number of open positions that can be decided. They are the first open positions."""
        if self._alike and not (self._fixed or self._certain) and self._frontier.constraint is None:
            said = self._frontier.said
            return min([positions, *[len(said[member]) for member in self.all]])
        return next((offset for offset in range(positions) if self.missing(offset)), positions)
