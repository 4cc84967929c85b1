"""Mistakes in constraints and proposers, each of which must make a proof by enumeration fail."""

from collections.abc import Callable

import pytest
from torch import Tensor

from tests.core.test_constraints import MIXTURE, PAIRED, members
from tests.core.test_mutants import aliased
from tests.toys.brackets import Brackets
from tests.toys.pairs import Pairs
from unisono.decoding import Schedule, Turn, cos, standard
from unisono.decoding.frontier import Frontier
from unisono.decoding.proposals import Proposal
from unisono.errors import ConfigurationError, RequestError
from unisono.sampling.noise import KeyedNoise, Noise, Purpose
from unisono.testing import EnumeratingNoise, brute_force, decode, largest_error

Mutation = Callable[[pytest.MonkeyPatch], None]


def mask_one_position_late(patch: pytest.MonkeyPatch) -> None:
    """Each open position but the first one has the mask of the position in front of it."""
    patch.setattr(Frontier, "mask", lambda self, offset: self._masks[max(0, offset - 1)])


def forbidden_draw_dropped(patch: pytest.MonkeyPatch) -> None:
    """A drawn token that the constraint forbids is no proposal, so the target is drawn from instead of the residual."""
    correct = Frontier.propose

    def propose(self: Frontier, proposal: Proposal) -> list[Proposal]:
        if self.constraint is not None and not bool(self.mask(self.open)[proposal.token]):
            return []
        return correct(self, proposal)

    patch.setattr(Frontier, "propose", propose)


def mask_of_a_rejected_text(patch: pytest.MonkeyPatch) -> None:
    """The mask behind a rejected proposal is kept for the token that is committed in its place."""
    correct = Frontier.replace

    def replace(self: Frontier, token: int) -> list[Proposal]:
        kept = self._masks[1:2]
        forced = correct(self, token)
        self._masks[: len(kept)] = kept[: len(self._masks)]
        return forced

    patch.setattr(Frontier, "replace", replace)


def constraint_not_rolled_back(patch: pytest.MonkeyPatch) -> None:
    """The constraint stays behind proposals that were rejected."""
    patch.setattr(Brackets, "rollback", lambda self, count: None)


def second_token_by_its_marginal_law(patch: pytest.MonkeyPatch) -> None:
    """The second token of a pair names its law whatever the first token is."""

    def second(self: Pairs, joint: Tensor, first: int) -> Tensor:
        return joint.sum(0)

    patch.setattr(Pairs, "_second", second)


def only_pairs(steps: int) -> Schedule:
    """Proposes pairs behind each other; the second one is discarded where a token of the first one is rejected."""
    return Schedule("only-pairs", lambda view: Turn((view.least_scored(),), ((Pairs.name, steps),)))


def error_of_brackets() -> float:
    """Brackets that force nothing, so that masks alone say what may follow, with a letter of each kind."""
    return largest_error(members(3), MIXTURE, cos(2, 1), 4, constraint=Brackets(3, 4, forces=False))


def error_of_pairs() -> float:
    return largest_error(members(2), MIXTURE, PAIRED[0], 3, proposers=(Pairs.random(2),))


def error_of_pairs_in_brackets() -> float:
    options = {"proposers": (Pairs.random(3),), "constraint": Brackets(3, 2, forces=False)}
    return largest_error(members(3), MIXTURE, only_pairs(1), 2, **options)


GUARDED: list[tuple[Mutation, Callable[[], float]]] = [
    (mask_one_position_late, error_of_brackets),
    (mask_of_a_rejected_text, error_of_brackets),
    (constraint_not_rolled_back, error_of_brackets),
    (forbidden_draw_dropped, error_of_pairs_in_brackets),
    (second_token_by_its_marginal_law, error_of_pairs),
]


@pytest.mark.parametrize(("mutate", "guard"), GUARDED, ids=lambda function: function.__name__)
def test_a_wrong_law_is_caught_by_enumeration(
    monkeypatch: pytest.MonkeyPatch, mutate: Mutation, guard: Callable[[], float]
):
    assert guard() < 1e-12
    mutate(monkeypatch)
    try:
        error = guard()
    except RequestError:  # the loop noticed
        return
    assert error > 1e-3


class Kept(Noise):
    """Noise that gives the choice of a position again, whatever the round and the law."""

    def __init__(self, noise: Noise) -> None:
        self._noise, self._picks = noise, dict[int, int]()

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        if purpose is not Purpose.PICK:
            return self._noise.draw(law, purpose, position, round)
        if position not in self._picks:
            self._picks[position] = self._noise.draw(law, purpose, position, round)
        return self._picks[position]

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        return self._noise.leading(probabilities, position, round)


@pytest.mark.parametrize("wrap", [lambda noise: noise, Kept], ids=["fresh", "kept"])
def test_a_pick_kept_by_position_is_caught_by_enumeration(wrap: Callable[[Noise], Noise]):
    found: dict[tuple[int, ...], float] = {}
    proposers = (Pairs.random(2),)
    runs = EnumeratingNoise(
        lambda noise: decode(members(2), MIXTURE, only_pairs(2), wrap(noise), 3, proposers=proposers)
    )
    for text, mass in runs:
        found[text] = found.get(text, 0.0) + mass
    wanted = brute_force(members(2), MIXTURE, 3)
    error = max(abs(found.get(text, 0.0) - mass) for text, mass in wanted.items())
    assert error > 1e-3 if wrap is Kept else error < 1e-12


def test_a_number_of_a_pick_used_twice_is_asserted(monkeypatch: pytest.MonkeyPatch):
    """Keyed noise records the names that it was asked for; the error names the proposer."""

    def decode_all() -> None:
        for seed in range(20):
            decode(members(2), MIXTURE, only_pairs(2), KeyedNoise(seed), 12, proposers=(Pairs.random(2),))

    decode_all()
    aliased(monkeypatch, Purpose.PICK, lambda purpose, position, round: (purpose, position, 0))
    with pytest.raises(ConfigurationError, match="proposer pairs failed: AssertionError: random name used twice"):
        decode_all()


def test_standard_shares_no_mistake_with_drafts(monkeypatch: pytest.MonkeyPatch):
    """Nothing is proposed under `standard`, so a rejected proposal cannot make it wrong."""
    for mutate, _ in GUARDED:
        mutate(monkeypatch)
    assert largest_error(members(3), MIXTURE, standard(), 4, constraint=Brackets(3, 4, forces=False)) < 1e-12
