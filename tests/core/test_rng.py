"""Keyed randomness: a name decides its number, numbers are uniform, and no state is shared with anybody."""

import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from unisono.sampling.exponentials import open_unit
from unisono.sampling.inversion import inverse
from unisono.sampling.noise import KeyedNoise, Purpose
from unisono.testing import assert_law

REALISING = [Purpose.PROPOSE, Purpose.ACCEPT, Purpose.RESIDUAL]
LARGEST = 2**64 - 1


def uniform(seed: int, sample: int, purpose: Purpose, position: int, round: int) -> float:
    return float(KeyedNoise(seed, sample).uniforms(purpose, position, round)[0])


def raw_bits(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """Make the generator return these 64 bits for every number."""
    monkeypatch.setattr(KeyedNoise, "_raw", lambda self, counter, count: np.full(count, bits, dtype=np.uint64))


def test_a_name_always_gives_the_same_number():
    """The same name in another object, process or order of calls gives the same number."""
    backwards = KeyedNoise(3)
    numbers = {position: float(backwards.uniforms(Purpose.PROPOSE, position, 4)[0]) for position in range(9, -1, -1)}
    assert [uniform(3, 0, Purpose.PROPOSE, position, 4) for position in range(10)] == [numbers[p] for p in range(10)]
    # pinned: texts of published seeds must not change with a version of this package or of numpy
    assert uniform(7, 0, Purpose.PROPOSE, 0, 0) == pytest.approx(0.8446071616843288, abs=1e-15)


def test_different_names_give_different_numbers():
    """Seed, sample, purpose, position and round each make another number; none of 4,800 names coincides."""
    names = [
        (seed, sample, purpose, position, round)
        for seed in (0, 1, 2**32, LARGEST)
        for sample in (0, 1)
        for purpose in REALISING
        for position in (*range(10), 2**31, 2**32, 2**40, 2**63 - 1)
        for round in (*range(10), 2**31, 2**32, 2**40, 2**63 - 1)
    ]
    assert len({uniform(*name) for name in names}) == len(names)


def test_target_numbers_are_not_those_of_other_names():
    """The TARGET vectors share no number with any other name, nor with each other."""
    noise = KeyedNoise(5)
    vectors = [noise.exponentials(position, 64) for position in range(30)]
    numbers = {float(value) for vector in vectors for value in vector}
    assert len(numbers) == 30 * 64
    others = {-np.log(uniform(5, 0, purpose, p, r)) for purpose in REALISING for p in range(20) for r in range(20)}
    assert not numbers & others


def test_a_block_of_tosses_is_the_single_ones():
    """Position k of a block has the number it would have alone: a toss does not depend on the block's length."""
    block = KeyedNoise(11).uniforms(Purpose.ACCEPT, 6, 2, 9)
    assert list(block) == [uniform(11, 0, Purpose.ACCEPT, position, 2) for position in range(6, 15)]


@pytest.mark.parametrize("purpose", REALISING)
def test_a_name_used_twice_is_a_bug(purpose: Purpose):
    """Using a name again would bias the output, so it is asserted, also where blocks overlap."""
    noise = KeyedNoise(1)
    noise.uniforms(purpose, 3, 0, 4)
    noise.uniforms(purpose, 3, 1, 4)
    for position in (3, 6):
        with pytest.raises(AssertionError, match="used twice"):
            noise.uniforms(purpose, position, 0)


def test_draw_and_leading_use_up_their_names():
    """The two choices that decoding makes are recorded, so that no schedule can look at a discarded choice again."""
    law = torch.tensor([0.5, 0.5])
    noise = KeyedNoise(1)
    noise.draw(law, Purpose.PROPOSE, 0, 0)
    noise.leading(law, 0, 0)
    with pytest.raises(AssertionError, match="PROPOSE"):
        noise.draw(law, Purpose.PROPOSE, 0, 0)
    with pytest.raises(AssertionError, match="ACCEPT"):
        noise.leading(law, 1, 0)


def test_target_vector_is_a_prefix_of_a_longer_one_and_free_to_look_at():
    """TARGET is one vector per position: any round, any number of looks, any vocabulary size up to which it is needed."""
    noise = KeyedNoise(2)
    long = noise.exponentials(4, 1000)
    for size in (1, 3, 4, 5, 999):
        assert list(noise.exponentials(4, size)) == list(long[:size])
    law = torch.softmax(torch.randn(50, generator=torch.Generator().manual_seed(0)), -1)
    tokens = {noise.draw(law, Purpose.TARGET, 4, round) for round in range(5)}
    assert len(tokens) == 1


def test_uniforms_are_inside_the_open_interval(monkeypatch: pytest.MonkeyPatch):
    """Whatever the bits, 0 < u < 1: u = 0 would accept the impossible, u = 1 reject the certain."""
    numbers = KeyedNoise(0).uniforms(Purpose.ACCEPT, 0, 0, 100_000)
    assert 0 < numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    for bits in (0, 1, 2**12 - 1, 2**63, LARGEST - 1, LARGEST):
        raw_bits(monkeypatch, bits)
        assert 0 < KeyedNoise(0).uniforms(Purpose.ACCEPT, 0, 0)[0] < 1
        variate = KeyedNoise(0).exponentials(0, 1)[0]
        assert 0 < variate < np.inf


@given(st.integers(0, LARGEST), st.lists(st.sampled_from([0.0, 0.0, 1e-30, 1e-7, 0.3, 1.0]), min_size=2, max_size=6))
def test_draw_never_returns_a_token_without_mass(bits: int, masses: list[float]):
    """For any random bits and purpose, the token drawn has mass; the law need not sum to 1."""
    with pytest.MonkeyPatch.context() as patch:
        for extreme in (0, bits, LARGEST):
            raw_bits(patch, extreme)
            for dtype in (torch.float32, torch.float64):
                law = torch.tensor([*masses, 0.25, 0], dtype=dtype)
                for purpose in (Purpose.TARGET, Purpose.PROPOSE, Purpose.RESIDUAL):
                    assert law[KeyedNoise(0).draw(law, purpose, 0, 0)] > 0


@pytest.mark.parametrize("bits", [0, LARGEST])
def test_certain_and_impossible_tosses(monkeypatch: pytest.MonkeyPatch, bits: int):
    """Probability 1 always comes up true and probability 0 never, at both ends of the generator's range."""
    raw_bits(monkeypatch, bits)
    assert KeyedNoise(0).leading(torch.ones(3), 0, 0) == 3
    assert KeyedNoise(0).leading(torch.tensor([1.0, 0.0, 1.0]), 0, 0) == 1
    assert KeyedNoise(0).leading(torch.zeros(2), 0, 0) == 0


def test_leading_counts_the_tosses_before_the_first_failure():
    """Toss k is true iff the number named by `position + k` is below its probability."""
    for seed in range(50):
        numbers = torch.from_numpy(KeyedNoise(seed).uniforms(Purpose.ACCEPT, 3, 1, 4))
        probabilities = torch.full((4,), 0.6)
        failed = [k for k in range(4) if numbers[k] >= probabilities[k]]
        assert KeyedNoise(seed).leading(probabilities, 3, 1) == (failed[0] if failed else 4)


def test_global_generators_are_neither_used_nor_changed():
    """Other people's random numbers are the same with and without ours, and ours the same whatever they do."""
    law = torch.full((4,), 0.25)

    def draw_all() -> list[int]:
        noise = KeyedNoise(8)
        noise.leading(law, 0, 0)
        return [noise.draw(law, purpose, p, 1) for purpose in (Purpose.TARGET, Purpose.PROPOSE) for p in range(20)]

    before = (torch.get_rng_state(), repr(np.random.get_state()), random.getstate())  # noqa: NPY002
    first = draw_all()
    after = (torch.get_rng_state(), repr(np.random.get_state()), random.getstate())  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.rand(3)
    random.random()
    assert draw_all() == first


@pytest.mark.statistical
@pytest.mark.parametrize("axis", ["position", "round", "seed", "sample"])
def test_numbers_are_uniform_along_every_part_of_the_name(axis: str):
    """Pairs of neighbours fall evenly into 4 x 4 cells (false alarm 1e-9, detects a total variation of 0.1)."""
    name = {"seed": 1, "sample": 0, "position": 0, "round": 0}
    numbers = [uniform(purpose=Purpose.ACCEPT, **(name | {axis: index})) for index in range(13_000)]
    cells = [(int(4 * first), int(4 * second)) for first, second in zip(numbers[::2], numbers[1::2], strict=True)]
    assert_law(cells, {(a, b): 1 / 16 for a in range(4) for b in range(4)}, detects=0.1)


@pytest.mark.statistical
@pytest.mark.parametrize("purpose", [Purpose.TARGET, Purpose.PROPOSE, Purpose.RESIDUAL])
def test_draws_follow_their_law(purpose: Purpose):
    """Tokens drawn at many positions follow the law (false alarm 1e-9, detects a total variation of 0.1)."""
    law = torch.tensor([0.45, 0.0, 0.3, 0.15, 0.1])
    noise = KeyedNoise(12)
    tokens = [(noise.draw(law, purpose, position, 0),) for position in range(5_000)]
    assert_law(tokens, {(token,): float(law[token]) for token in (0, 2, 3, 4)}, detects=0.1)


@pytest.mark.statistical
def test_tosses_follow_their_probabilities():
    """Lengths of accepted runs are geometric (false alarm 1e-9, detects a total variation of 0.1)."""
    noise = KeyedNoise(13)
    runs = [(noise.leading(torch.full((3,), 0.6), 0, round),) for round in range(5_000)]
    assert_law(runs, {(0,): 0.4, (1,): 0.24, (2,): 0.144, (3,): 0.216}, detects=0.1)


@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.lists(st.integers(0, 200), max_size=30),
)
def test_members_are_drawn_as_one_by_one(seed: int, odds: list[float], positions: list[int]):
    """Numbers are computed for several positions together; each choice is the one of a single number, in any order."""
    assume(sum(odds) > 0)
    noise, law = KeyedNoise(seed), torch.tensor(odds, dtype=torch.float64)
    for position in positions:
        raw = KeyedNoise(seed)._raw([position, Purpose.MEMBER, 0, 0], 1)
        expected = inverse(law.unsqueeze(0), torch.from_numpy(open_unit(raw)))
        assert noise.draw(law, Purpose.MEMBER, position, 0) == int(expected)
