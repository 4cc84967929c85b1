"""Patches of the shipped functions, each a mistake that has been made: the test that guards it must fail."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember
from tests.laws import law_of
from unisono.combine import Combination, only, weighted
from unisono.combine.mixtures import Weighted
from unisono.decoding import Schedule, cos, speculative, standard
from unisono.decoding import blocks as open_blocks
from unisono.decoding import verification as verify
from unisono.decoding.events import Accepted
from unisono.decoding.frontier import Frontier
from unisono.decoding.proposals import Draft, Proposal
from unisono.decoding.row import Row
from unisono.members.table import TableMember
from unisono.members.tokens import TokenMember
from unisono.sampling import sampler as choices
from unisono.sampling.noise import KeyedNoise, Purpose
from unisono.sampling.sampler import Names
from unisono.sampling.warp import Warp
from unisono.testing import PROMPT, assert_law, brute_force, decode, exact_law, largest_error

Mutation = Callable[[pytest.MonkeyPatch], None]
PAIR = [HistoryMember.random(3, seed) for seed in (1, 2)]
COMBINATION = weighted([0.7, 0.3])


def wrong_ratio(patch: pytest.MonkeyPatch) -> None:
    """Accepts with s / r."""
    correct = verify.acceptance
    patch.setattr(verify, "acceptance", lambda r, s: correct(s, r))


def redrawn_from_the_target(patch: pytest.MonkeyPatch) -> None:
    """Replaces a rejected proposal by a token from r, not from the residual."""
    patch.setattr(verify, "residual", lambda rest, r: r)


def residual_the_other_way_round(patch: pytest.MonkeyPatch) -> None:
    """Takes (s - r)+ for the residual."""
    correct = open_blocks.excess
    patch.setattr(open_blocks, "excess", lambda r, s: correct(s, r))


def stale_scores(patch: pytest.MonkeyPatch) -> None:
    """Keeps, after a rejection, what members said about positions behind the rejected token."""

    def replace(self: Frontier, token: int) -> list[Proposal]:
        self.committed.append(token)
        self.proposals.clear()
        for said in self.said:
            del said[:1]
            del said[self.open + 1 :]
        return []

    patch.setattr(Frontier, "replace", replace)


def stale_cache(patch: pytest.MonkeyPatch) -> None:
    """Does not roll the members back: they go on from rejected tokens."""
    patch.setattr(TokenMember, "rewind", lambda self, slot, length: None)


def proposed_with(patch: pytest.MonkeyPatch, law: Callable[[Frontier, Proposal], Tensor | None]) -> None:
    """Make proposals carry another law than the one they were drawn from; None keeps it."""
    correct = Frontier.propose

    def propose(self: Frontier, proposal: Proposal) -> list[Proposal]:
        other = law(self, proposal)
        return correct(self, proposal if other is None else Proposal(proposal.token, other, proposal.proposer))

    patch.setattr(Frontier, "propose", propose)


def law_of_the_neighbour(patch: pytest.MonkeyPatch) -> None:
    """A proposal carries the law of the position before it."""
    proposed_with(patch, lambda frontier, proposal: frontier.proposals[-1].law if frontier.open else None)


def bonus_with_the_law_of_another(patch: pytest.MonkeyPatch) -> None:
    """The verifier's own proposal carries the default proposer's law."""

    def law(frontier: Frontier, proposal: Proposal) -> Tensor | None:
        return PAIR[0].law([*PROMPT, *frontier.committed]) if proposal.proposer == 1 and frontier.open == 0 else None

    proposed_with(patch, law)


def bonus_with_the_target_law(patch: pytest.MonkeyPatch) -> None:
    """The verifier's own proposal, drawn from its law, carries the combined one."""

    def law(frontier: Frontier, proposal: Proposal) -> Tensor | None:
        prefix = [*PROMPT, *frontier.committed]
        bonus = proposal.proposer == 1 and frontier.open == 0
        logits = [member.law(prefix).log().unsqueeze(0) for member in PAIR]
        return law_of(COMBINATION, logits, Warp())[0] if bonus else None

    proposed_with(patch, law)


def proposals_with_the_unwarped_law(patch: pytest.MonkeyPatch) -> None:
    """Proposals are drawn from the warped law and carry the law at temperature 1."""

    def law(frontier: Frontier, proposal: Proposal) -> Tensor:
        logits, index = frontier.said[int(proposal.proposer)][frontier.open].logits
        return torch.softmax(logits[index], -1)

    proposed_with(patch, law)


def bonus_emitted(patch: pytest.MonkeyPatch) -> None:
    """The verifier's own proposal is committed without verification."""
    correct = Row.extend

    def extend(self: Row, draft: Draft) -> None:
        correct(self, draft)
        if draft.proposer == 1 and self.frontier.open == 1 and self.frontier.committed:
            self.listeners.tell(Accepted, self.frontier.position, [int(draft.tokens[0])], [1])
            self.frontier.accept(1)
            self.finished = self.frontier.position == self.task.limit

    patch.setattr(Row, "extend", extend)


def swapped_weights(patch: pytest.MonkeyPatch) -> None:
    """The weights belong to the members in reverse order."""
    correct = Weighted._mix
    patch.setattr(Weighted, "_mix", lambda self, laws: correct(self, laws[::-1]))


def always_accepts(patch: pytest.MonkeyPatch) -> None:
    """Every proposal stands."""
    patch.setattr(verify, "acceptance", lambda r, s: torch.ones_like(r))


def never_accepts_a_second_proposal(patch: pytest.MonkeyPatch) -> None:
    """Only the first proposal of a block has a chance; the others are replaced from the residual."""
    correct = choices.leading

    def leading(probabilities: Tensor, names: list[Names]) -> Tensor:
        return correct(torch.cat([probabilities[:, :1], 0 * probabilities[:, 1:]], -1), names)

    patch.setattr("unisono.decoding.verification.leading", leading)


def error(combination: Combination, schedule: Schedule, tokens: int, warp: Warp | None = None) -> float:
    """Largest error of the enumerated loop, against the definition."""
    verification = verify.VERIFICATIONS["token"]
    return largest_error(PAIR, combination, schedule, tokens, warp=warp or Warp(), verification=verification)


def speculative_error() -> float:
    return error(COMBINATION, speculative(2), 2)


def alternating_error() -> float:
    return error(COMBINATION, cos(1, 1), 3)


def warped_error() -> float:
    return error(COMBINATION, cos(1, 1), 2, Warp(0.5, top_k=2))


def weights_error() -> float:
    """Against the mixture written out, since the definition itself would swap the weights too."""
    wanted = 0.7 * PAIR[0].law(PROMPT) + 0.3 * PAIR[1].law(PROMPT)
    found = exact_law(PAIR, COMBINATION, speculative(1), 1)
    return max(abs(found[(token,)] - float(wanted[token])) for token in range(3))


GUARDED: list[tuple[Mutation, Callable[[], float]]] = [
    (wrong_ratio, speculative_error),
    (wrong_ratio, alternating_error),
    (redrawn_from_the_target, speculative_error),
    (redrawn_from_the_target, alternating_error),
    (residual_the_other_way_round, speculative_error),
    (stale_scores, speculative_error),
    (stale_cache, speculative_error),
    (law_of_the_neighbour, speculative_error),
    (bonus_with_the_law_of_another, alternating_error),
    (bonus_with_the_target_law, alternating_error),
    (proposals_with_the_unwarped_law, warped_error),
    (bonus_emitted, alternating_error),
    (swapped_weights, weights_error),
    (always_accepts, speculative_error),
    (always_accepts, alternating_error),
    (never_accepts_a_second_proposal, speculative_error),
]


@pytest.mark.parametrize(("mutate", "guard"), GUARDED, ids=lambda function: function.__name__)
def test_a_wrong_law_is_caught_by_enumeration(
    monkeypatch: pytest.MonkeyPatch, mutate: Mutation, guard: Callable[[], float]
):
    """The guard passes for the shipped code and shows a clear error, or a violated assertion, for the mutant."""
    assert guard() < 1e-12
    mutate(monkeypatch)
    assert caught(guard) > 1e-3


def caught(guard: Callable[[], float]) -> float:
    """The guard's error; infinite if the loop itself noticed, or the member did."""
    try:
        return guard()
    except (AssertionError, IndexError):
        return float("inf")


def aliased(
    patch: pytest.MonkeyPatch, purpose: Purpose, name: Callable[[Purpose, int, int], tuple[Purpose, int, int]]
) -> None:
    """Look up the numbers of a purpose under another name."""
    correct = KeyedNoise.uniforms

    def uniforms(self: KeyedNoise, asked: Purpose, position: int, round: int, count: int = 1) -> np.ndarray:
        found = name(asked, position, round) if asked is purpose else (asked, position, round)
        return correct(self, *found, count)

    patch.setattr(KeyedNoise, "uniforms", uniforms)


def residual_with_the_toss(patch: pytest.MonkeyPatch) -> None:
    """A rejected token is redrawn with the number that rejected it."""
    aliased(patch, Purpose.RESIDUAL, lambda purpose, position, round: (Purpose.ACCEPT, position, round))


def proposals_by_position_alone(patch: pytest.MonkeyPatch) -> None:
    """What is proposed again at a position takes the number of the proposal that was discarded there."""
    aliased(patch, Purpose.PROPOSE, lambda purpose, position, round: (purpose, position, 0))


def tosses_by_position_alone(patch: pytest.MonkeyPatch) -> None:
    """A position that was tossed for in vain is tossed for again with the same number."""
    aliased(patch, Purpose.ACCEPT, lambda purpose, position, round: (purpose, position, 0))


def toss_with_the_proposal(patch: pytest.MonkeyPatch) -> None:
    """A proposal is tossed for with the number that it was drawn with."""
    aliased(patch, Purpose.ACCEPT, lambda purpose, position, round: (Purpose.PROPOSE, position, round))


def reused_names(patch: pytest.MonkeyPatch) -> None:
    """As with assertions switched off: names are not recorded."""

    class Forgetful(set):  # type: ignore[type-arg]
        def __contains__(self, name: object) -> bool:
            return False

    correct = KeyedNoise.__init__

    def create(self: KeyedNoise, seed: int, sample: int = 0) -> None:
        correct(self, seed, sample)
        self._used = Forgetful()

    patch.setattr(KeyedNoise, "__init__", create)


REUSES = [residual_with_the_toss, proposals_by_position_alone, tosses_by_position_alone, toss_with_the_proposal]


@pytest.mark.parametrize("mutate", REUSES, ids=lambda function: function.__name__)
def test_a_number_used_twice_is_asserted(monkeypatch: pytest.MonkeyPatch, mutate: Mutation):
    """Enumeration cannot see shared random numbers, so the generator records the names it has been asked for."""
    members: list[TableMember] = [HistoryMember.random(3, seed) for seed in (3, 4)]

    def decode_all() -> None:
        for seed in range(20):
            decode(members, only(1), speculative(3), KeyedNoise(seed), 16)

    decode_all()
    mutate(monkeypatch)
    with pytest.raises(AssertionError, match="used twice"):
        decode_all()


@pytest.mark.statistical
def test_a_residual_that_reuses_the_toss_is_seen_in_samples(monkeypatch: pytest.MonkeyPatch):
    """With the record of names off, the law shows it (false alarm 1e-9, detects a total variation of 0.2)."""
    sure = TableMember(torch.tensor([[1.0, 0, 0]] * 3))
    unsure = TableMember(torch.tensor([[0.5, 0.25, 0.25]] * 3))
    members, law = [sure, unsure], brute_force([sure, unsure], only(1), 1)

    def check() -> None:
        runs = [decode(members, only(1), speculative(1), KeyedNoise(seed), 1) for seed in range(1_200)]
        assert_law(runs, law, detects=0.2)

    check()
    reused_names(monkeypatch)
    check()
    residual_with_the_toss(monkeypatch)
    with pytest.raises(AssertionError, match="L1 distance"):
        check()


def test_standard_decoding_needs_none_of_these_guards(monkeypatch: pytest.MonkeyPatch):
    """Nothing is proposed, tossed or redrawn under `standard`: the reference cannot share a mistake of speculation."""
    for mutate, _ in GUARDED:
        if mutate is not swapped_weights:
            mutate(monkeypatch)
    assert error(COMBINATION, standard(), 3) < 1e-12
