"""Who is needed where: the members without whose scores the law of an open position is not known."""

from collections.abc import Iterator

import torch

from unisono.decoding.frontier import Frontier
from unisono.decoding.spec import Method, Task
from unisono.sampling.noise import Noise, Purpose

AHEAD = 16  # positions behind the last proposal for which a schedule may know the member that is drawn


class Needs:
    """What the open positions of one row need.

    Args:
        frontier: the row's. combined: the members that the combination is of.
    """

    def __init__(self, method: Method, task: Task, frontier: Frontier, noise: Noise, combined: range) -> None:
        self.all = method.combination.needed(len(combined))
        self._lazy = method.schedule.lazy and task.logprobs is None
        self._odds = torch.tensor(method.combination.odds(task.warp), dtype=torch.float64)
        self._drawn: list[int] = []  # per generated token, the member drawn for it
        self._heard: dict[int, object] = {}  # per open position, what was looked at in vain
        self._fixed: set[int] = set()  # positions whose law nobody can change
        self._certain: set[int] = set()  # positions whose proposal stands, whatever the others say
        self.may_know_early = self._lazy and not self.draws and method.combination.early(task.warp)
        self._frontier, self._noise, self._limit = frontier, noise, task.limit

    @property
    def draws(self) -> bool:
        """Whether the law of each position is that of a member drawn for it."""
        return len(self._odds) > 0

    def drawn(self, offset: int) -> int:
        """The member drawn for an open position, counted from the first one."""
        position = self._frontier.position + offset
        while len(self._drawn) <= position:
            self._drawn.append(self._noise.draw(self._odds, Purpose.MEMBER, len(self._drawn), 0))
        return self._drawn[position]

    def upcoming(self) -> tuple[int, ...]:
        """The members drawn for all open positions and some behind them; none if none are drawn."""
        if not (self.draws and self._lazy):
            return ()
        most = min(self._frontier.open + AHEAD, self._limit - self._frontier.position)
        return tuple(self.drawn(offset) for offset in range(most))

    def missing(self, offset: int) -> tuple[int, ...]:
        """The members that have to score an open position before it can be decided."""
        position = self._frontier.position + offset
        if position in self._fixed or position in self._certain:
            return ()
        needed = (self.drawn(offset),) if self.draws and self._lazy else self.all
        return tuple(member for member in needed if self._frontier.scored(member) <= offset)

    def unsure(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Open positions that only some of the needed members have scored, with these, if that is new."""
        most = max(self._frontier.scored(member) for member in self.all)
        for offset in range(most):
            heard = tuple(member for member in self.all if self._frontier.scored(member) > offset)
            seen = self._heard.get(self._frontier.position + offset)
            if self.missing(offset) and seen != (heard, offset < self._frontier.open):
                yield offset, heard

    def learn(self, offset: int, heard: tuple[int, ...], fixed: bool, certain: bool) -> None:
        """What these members' scores say about an open position."""
        position = self._frontier.position + offset
        self._heard[position] = heard, offset < self._frontier.open
        if fixed:
            self._fixed.add(position)
        elif certain:
            self._certain.add(position)

    def forget(self) -> None:
        """A token was redrawn: what was learnt about later positions is void."""
        self._heard.clear()
        self._fixed.clear()
        self._certain.clear()

    def unscored(self, offset: int) -> bool:
        """Whether an open position is decided without its law: its proposal stands in any case."""
        return self._frontier.position + offset in self._certain

    def known(self, positions: int) -> int:
        """How many of the first open positions can be decided."""
        return next((offset for offset in range(positions) if self.missing(offset)), positions)
