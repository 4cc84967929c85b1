"""A backend of toys: `toy:3` is a random Markov chain of three tokens. One file, and one line that registers it."""

import copy
from dataclasses import dataclass
from typing import Any

import torch

from unisono.errors import ConfigurationError, MemberError
from unisono.members import backends
from unisono.members.source import Source
from unisono.members.table import TableMember

PREFIX = "toy:"


@dataclass(frozen=True)
class Options:
    """seed: of the chain's laws."""

    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int):
            raise ConfigurationError(f"a member's seed must be an integer, not: {self.seed!r}")


class ToyMember(TableMember):
    """A table whose twins take slot numbers from the same slots."""

    def twin(self, name: str) -> "ToyMember":
        twin = copy.copy(self)
        twin.name = name
        return twin


class Toy:
    """See `backends.Backend`. `loads`: how often it was asked to load."""

    name = "toy"
    options = Options

    def __init__(self) -> None:
        self.loads = 0

    def takes(self, source: Source) -> bool:
        return isinstance(source.model, str) and source.model.startswith(PREFIX)

    def check(self, source: Source) -> None:
        if not source.model.removeprefix(PREFIX).isdecimal():
            raise MemberError(f"unknown member: {source.model!r}; a toy has a number of tokens, as toy:3")

    def load(self, source: Source) -> tuple[ToyMember, Any]:
        self.loads += 1
        random = TableMember.random(int(source.model.removeprefix(PREFIX)), source.options.seed)
        return self._made(random, source.called), source.tokenizer

    def twin(self, member: ToyMember, name: str) -> ToyMember:
        return member.twin(name)

    def share(self, member: ToyMember, name: str) -> ToyMember:
        return self._made(member, name)

    def _made(self, same: TableMember, name: str) -> ToyMember:
        laws = torch.stack([same.law([token]) for token in range(same.vocabulary)])
        return ToyMember(laws, name, laws.numel())


def toys() -> Toy:
    """A new backend of toys, which is asked first."""
    toy = Toy()
    backends.register(toy)
    return toy
