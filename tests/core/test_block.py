"""Block verification: the law of the text, more accepted tokens than token by token, and the mistakes made elsewhere."""

import functools
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.core.helpers import HistoryMember, expectation, schedules
from unisono.combine import Combination, contrastive, drawn, only, product, weighted
from unisono.decoding import Schedule, Turn, cos, risky, speculative
from unisono.decoding import verification as verify
from unisono.decoding.blocks import Block, Drafts, free_positions
from unisono.decoding.required import Needs
from unisono.decoding.verification import VERIFICATIONS
from unisono.sampling import sampler as choices
from unisono.sampling.noise import KeyedNoise, Noise, Purpose
from unisono.sampling.sampler import Names
from unisono.sampling.warp import Warp
from unisono.testing import largest_error

BLOCK = VERIFICATIONS["block"]
named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
COMBINATIONS = [weighted([0.7, 0.3]), product([0.6, 0.4]), contrastive(0.4), only(1)]


@functools.cache
def members(count: int, vocabulary: int, sparse: bool = False) -> list[HistoryMember]:
    build = HistoryMember.sparse if sparse else HistoryMember.random
    return [build(vocabulary, seed) for seed in range(1, count + 1)]


@named("combination", [*COMBINATIONS, drawn([0.7, 0.3])])
@named("schedule", schedules(2))
def test_the_law_by_enumeration(combination: Combination, schedule: Schedule):
    """Every schedule and combination: the law of three tokens over two letters."""
    assert largest_error(members(2, 2), combination, schedule, 3, verification=BLOCK) < 1e-12


@named("schedule", [speculative(3), cos(3, 1), cos(2, 2), risky(2)])
@named("warp", [Warp(0.7, top_k=2), Warp(0.6, top_p=0.8), Warp(0)])
def test_warped_laws(schedule: Schedule, warp: Warp):
    """Laws with zeros, and one-hot ones."""
    assert largest_error(members(2, 3), weighted([0.5, 0.5]), schedule, 3, warp=warp, verification=BLOCK) < 1e-12


@named("schedule", [speculative(4), cos(4, 1), cos(2, 3)])
def test_longer_blocks(schedule: Schedule):
    """Blocks of four, and later proposals that stay open behind a block that is accepted whole."""
    assert largest_error(members(2, 2), weighted([0.6, 0.4]), schedule, 4, verification=BLOCK) < 1e-12


@named("schedule", schedules(3))
def test_three_members(schedule: Schedule):
    """Members that rule tokens out."""
    mixture = weighted([0.5, 0.3, 0.2])
    assert largest_error(members(3, 2), mixture, schedule, 3, verification=BLOCK) < 1e-12
    assert largest_error(members(3, 4, sparse=True), mixture, schedule, 2, verification=BLOCK) < 1e-12


def accepted(r: dict, s: dict, length: int, rule: verify.Verification) -> float:
    """Expected accepted tokens of a chain whose laws depend on all tokens before."""

    def run(noise: Noise) -> float:
        tokens: tuple[int, ...] = ()
        for position in range(length):
            tokens += (noise.draw(s[tokens], Purpose.PROPOSE, position, 0),)
        prefixes = [tokens[:end] for end in range(length + 1)]
        block = Block(Names(noise, 0, 0, length), list(tokens), [s[prefix] for prefix in prefixes[:-1]], free=True)
        return float(rule.decide(torch.stack([r[prefix] for prefix in prefixes]), [block]).accepted)

    return expectation(run)


def chains(seed: int, length: int, size: int = 2) -> dict[tuple[int, ...], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prefixes = [p for end in range(length + 1) for p in itertools.product(range(size), repeat=end)]
    return {p: torch.softmax(2 * torch.randn(size, generator=generator, dtype=torch.float64), -1) for p in prefixes}


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 3))
def test_blocks_accept_more(seed: int, length: int, size: int):
    """Never fewer tokens in expectation than token by token; as many for a single proposal."""
    r, s = chains(seed, length, size), chains(seed + 1, length, size)
    block, token = (accepted(r, s, length, VERIFICATIONS[name]) for name in ("block", "token"))
    assert block >= token - 1e-12
    assert length > 1 or block == pytest.approx(token, abs=1e-12)


def test_blocks_accept_clearly_more_somewhere():
    """The gain that the paper reports is seen: several percent for random laws."""
    gains = [
        accepted(chains(seed, 3), chains(seed + 100, 3), 3, BLOCK)
        / accepted(chains(seed, 3), chains(seed + 100, 3), 3, VERIFICATIONS["token"])
        for seed in range(8)
    ]
    assert max(gains) > 1.03


def test_one_hot_proposals_gain_nothing():
    """A deterministic draft is accepted as often either way."""
    r, s = chains(3, 3, 3), {p: torch.eye(3, dtype=torch.float64)[sum(p) % 3] for p in chains(3, 3, 3)}
    assert accepted(r, s, 3, BLOCK) == pytest.approx(accepted(r, s, 3, VERIFICATIONS["token"]), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2**20)), min_size=2, max_size=5))
def test_many_rows_are_decided_as_each_alone(shapes: list[tuple[int, bool, int]]):
    """Blocks of any lengths, with and without a free position, by the same numbers."""
    blocks, targets = [], []
    for _ in range(2):
        for row, (proposed, free, seed) in enumerate(shapes):
            generator = torch.Generator().manual_seed(seed)
            r, s = (torch.softmax(2 * torch.randn(proposed + 1, 5, generator=generator), -1) for _ in range(2))
            tokens = torch.multinomial(s, 1, generator=generator)[:proposed, 0].tolist()
            known = proposed + (free or not proposed)
            names = Names(KeyedNoise(seed, row), 7, 2, proposed)
            blocks.append(Block(names, tokens, list(s[:proposed]), known > proposed))
            targets.append(r[:known])
    half = len(shapes)
    together = BLOCK.decide(torch.cat(targets[:half]), blocks[:half])
    for row in range(half):
        alone = BLOCK.decide(targets[half + row], [blocks[half + row]])
        assert int(alone.accepted) == int(together.accepted[row])
        drawn_there = int(alone.accepted) < blocks[row].known
        assert not drawn_there or int(alone.tokens) == int(together.tokens[row])


def test_a_text_without_a_law_is_reached_as_often():
    """A proposal in front of a position without a law stands with the chance it has at the end of a block."""
    r, s = chains(5, 2), chains(6, 2)

    def run(noise: Noise) -> float:
        tokens = [noise.draw(s[()], Purpose.PROPOSE, 0, 0)]
        tokens.append(noise.draw(s[tuple(tokens)], Purpose.PROPOSE, 1, 0))
        laws = torch.stack([r[()], torch.full((2,), torch.nan, dtype=torch.float64)])
        block = Block(Names(noise, 0, 0, 2), tokens, [s[()], s[tuple(tokens[:1])]], free=False)
        return float(standing(laws, block)[0, 1])

    assert expectation(run) == pytest.approx(float(torch.minimum(r[()], s[()]).sum()), abs=1e-12)


def standing(targets: Tensor, block: Block) -> Tensor:
    """The chances that the first proposals of a block stand: [1, K + 1]."""
    drafts = Drafts(targets, [block])
    worth = verify._worth(targets, drafts, [block])
    places = verify._places([block.known], targets)
    return verify._standing(targets, drafts, worth, *places, free_positions([block], targets))


def early_break(patch: pytest.MonkeyPatch) -> None:
    """Stops at the first prefix that does not stand, as token by token."""
    patch.setattr(verify, "last", lambda chances, names: choices.leading(chances, names))


def token_residual(patch: pytest.MonkeyPatch) -> None:
    """Redraws from (r - s)+, whatever the accepted prefix is worth."""
    correct = Drafts.left

    def left(self: Drafts, weighted: Tensor, at: Tensor) -> Tensor:
        if len(at) == 1:  # where the only row is redrawn; the weight of a block of one position is 1
            weighted = weighted / weighted.sum(-1, keepdim=True)
        return correct(self, weighted, at)

    patch.setattr(Drafts, "left", left)


def weights_not_cut_off(patch: pytest.MonkeyPatch) -> None:
    """The ratios are multiplied and cut off at 1 only in the end."""

    def worth(targets: Tensor, drafts: Drafts, blocks: list) -> Tensor:
        chances = targets.gather(-1, drafts.tokens.unsqueeze(-1))[:, 0]
        ratios = (chances / drafts.chances())[: len(blocks[0].tokens)]
        return torch.cat([torch.ones(1, dtype=ratios.dtype), ratios.cumprod(0).clamp(max=1)]).unsqueeze(0)

    patch.setattr(verify, "_worth", worth)


def last_as_the_others(patch: pytest.MonkeyPatch) -> None:
    """All prefixes stand by what they are worth, not only the whole block."""
    patch.setattr(verify, "_standing", lambda targets, drafts, worth, rows, places, free: worth)


MUTANTS = [early_break, token_residual, weights_not_cut_off, last_as_the_others]


@pytest.mark.parametrize("mutate", MUTANTS)
def test_mutants(monkeypatch: pytest.MonkeyPatch, mutate):
    """Mistakes made in shipped implementations give another law."""
    assert largest_error(members(2, 3), only(1), speculative(3), 3, verification=BLOCK) < 1e-12
    mutate(monkeypatch)
    assert largest_error(members(2, 3), only(1), speculative(3), 3, verification=BLOCK) > 1e-3


def test_a_block_must_not_end_by_a_later_token(monkeypatch: pytest.MonkeyPatch):
    """The mutant leaves the last proposal out of the block if it is an unlikely one: that biases what is accepted."""
    correct = Needs.known

    def known(self: Needs, positions: int) -> int:
        count, proposals = correct(self, positions), self._frontier.proposals
        if count > 2 and len(proposals) >= 2:
            law = proposals[1].law
            assert law is not None
            return 1 if float(law[proposals[1].token]) < 0.5 else count
        return count

    schedule = Schedule("own", lambda view: Turn((1,)) if view.open else Turn((0,), ((0, 2),)))
    assert largest_error(members(2, 2), only(1), schedule, 3, verification=BLOCK) < 1e-12
    monkeypatch.setattr(Needs, "known", known)
    assert largest_error(members(2, 2), only(1), schedule, 3, verification=BLOCK) > 1e-4
