"""Mistakes in what laws read, each of which must show in the enumerated law under `cos:2,1`.

Under `cos:1,1` one position is decided at a time, and a likelihood without open proposals would pass.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tests.core.test_reading_laws import TWO
from tests.toys.bayes import Bayes
from tests.toys.drawn_by_text import DrawnByText
from tests.toys.feature_gate import FeatureGate
from tests.toys.last_two import LastTwo
from unisono.combine import Combination
from unisono.decoding import cos, laws, settling
from unisono.decoding.blocks import Block, Decisions
from unisono.decoding.laws import RowLaws
from unisono.decoding.required import Needs
from unisono.testing import largest_error
from unisono.transfer import token_tensor

Mutation = Callable[[pytest.MonkeyPatch], None]


def history_one_token_late(patch: pytest.MonkeyPatch) -> None:
    """A law sees the tokens in front of the position, but not the last one."""
    correct = RowLaws.tokens
    patch.setattr(RowLaws, "tokens", lambda self, offset: correct(self, offset)[:-1])


def history_without_proposals(patch: pytest.MonkeyPatch) -> None:
    """A law sees the committed tokens alone."""
    patch.setattr(RowLaws, "tokens", lambda self, offset: list(self.frontier.committed))


def likelihood_without_proposals(patch: pytest.MonkeyPatch) -> None:
    """A likelihood counts the committed tokens alone."""
    correct = RowLaws.likelihood
    patch.setattr(RowLaws, "likelihood", lambda self, member, offsets: correct(self, member, [0]) * len(offsets))


def likelihood_of_rejected_tokens(patch: pytest.MonkeyPatch) -> None:
    """The committed part counts the proposal that was rejected, not the token in its place."""

    def committed(block: Block, decisions: Decisions, index: int) -> Tensor:
        follows = [decisions.tokens[index]] * block.free
        return token_tensor([*block.tokens, *follows], decisions.accepted.device)

    patch.setattr(settling, "_committed", committed)


def features_of_rejected_tokens(patch: pytest.MonkeyPatch) -> None:
    """The features of a position are those of the first text that was proposed in front of it."""
    correct = laws._features
    kept: dict[tuple[object, int, int], Tensor] = {}

    def features(places: Sequence[tuple[RowLaws, int]], member: int) -> Tensor:
        names = [(own, member, own.frontier.position + offset) for own, offset in places]
        return torch.stack([kept.setdefault(*each) for each in zip(names, correct(places, member), strict=True)])

    patch.setattr(laws, "_features", features)


def features_of_the_neighbour(patch: pytest.MonkeyPatch) -> None:
    """The features of a position are those of the position in front, where that is open."""
    correct = laws._features

    def features(places: Sequence[tuple[RowLaws, int]], member: int) -> Tensor:
        return correct([(own, max(0, offset - 1)) for own, offset in places], member)

    patch.setattr(laws, "_features", features)


def drawn_member_kept_by_position(patch: pytest.MonkeyPatch) -> None:
    """A member that was drawn behind a rejected proposal stays drawn."""
    correct = Needs.forget

    def forget(self: Needs) -> None:
        drawn = dict(self._drawn)
        correct(self)
        self._drawn.update(drawn)

    patch.setattr(Needs, "forget", forget)


GUARDED: list[tuple[Mutation, Combination]] = [
    (history_one_token_late, LastTwo()),
    (history_without_proposals, LastTwo()),
    (history_one_token_late, DrawnByText()),
    (likelihood_without_proposals, Bayes()),
    (likelihood_of_rejected_tokens, Bayes()),
    (features_of_rejected_tokens, FeatureGate(0)),
    (features_of_rejected_tokens, FeatureGate(1)),
    (features_of_the_neighbour, FeatureGate(0)),
    (drawn_member_kept_by_position, DrawnByText()),
]


@pytest.mark.parametrize(("mutate", "law"), GUARDED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_mistake_in_what_a_law_reads_is_caught(monkeypatch: pytest.MonkeyPatch, mutate: Mutation, law: Combination):
    """`test_reading_laws` has the same comparison of the shipped code, whose error is below 1e-12."""
    mutate(monkeypatch)
    assert largest_error(TWO, law, cos(2, 1), 3) > 1e-6
