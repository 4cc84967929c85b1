"""The lazy vector of exponential variates: what it is distributed as, and that a race on it has the right winner."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.core.wide_rows import KINDS, row
from unisono.sampling.exponentials import BLOCK, SMALL, Exponentials, race
from unisono.sampling.noise import KeyedNoise, Purpose


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [50, SMALL, SMALL + 1, 40_000])
def test_winner_is_the_argmax_over_the_whole_vector(kind: str, size: int):
    """The winner of a race that makes few blocks is the winner of the race over all variates."""
    law = torch.softmax(row(kind, size), -1)
    for position in range(20):
        found = KeyedNoise(1).winner(law, position)
        variates = torch.from_numpy(KeyedNoise(1).exponentials(position, size))
        assert found == int(race(law, variates))
        assert found == KeyedNoise(1).draw(law, Purpose.TARGET, position, 7)


@given(st.integers(0, 2**64 - 1), st.sampled_from(list(KINDS)), st.integers(SMALL + 1, SMALL + 70))
def test_winner_for_any_seed(seed: int, kind: str, size: int):
    """As above for any seed, and for two laws at one position, whose races share the variates."""
    noise = KeyedNoise(seed)
    vector = torch.from_numpy(KeyedNoise(seed).exponentials(3, size))
    for law in (torch.softmax(row(kind, size, 1), -1), torch.softmax(row("flat", size, 2), -1).double()):
        assert noise.winner(law, 3) == int(race(law, vector))


def test_winners_of_many_races():
    """Every token of a block may win, and also a block whose bound is hardly above the best smallest variate."""
    law = torch.softmax(row("flat", SMALL + 1) / 2, -1)
    noise, places = KeyedNoise(5), set()
    for position in range(400):
        token = noise.winner(law, position)
        assert token == int(race(law, torch.from_numpy(KeyedNoise(5).exponentials(position, len(law)))))
        places.add(token % BLOCK)
    assert len(places) == BLOCK


def test_variates_do_not_depend_on_the_order_of_reading():
    """Blocks that were made alone have the numbers of the whole vector."""
    law = torch.zeros(3 * SMALL)
    noise = KeyedNoise(4)
    for token in (9000, 17, 2 * SMALL + 5):
        noise.winner(law.index_fill(0, torch.tensor([token, token + 1]), 0.5), 2)
    made = noise._races[2]._known
    assert made
    whole = KeyedNoise(4).exponentials(2, 3 * SMALL)
    for block, variates in made.items():
        assert np.array_equal(variates, whole[block * BLOCK : (block + 1) * BLOCK])


def test_most_blocks_are_never_made():
    law = torch.softmax(row("flat", 40_000), -1)
    noise = KeyedNoise(0)
    for position in range(10):
        noise.winner(law, position)
        assert len(noise._races[position]._known) < 40_000 / BLOCK / 10


@pytest.mark.parametrize("fill", [math.nan, 0.0])
def test_law_without_tokens_gives_the_first_id(fill: float):
    for size in (5, SMALL + 5):
        law = torch.full((size,), fill)
        assert KeyedNoise(0).winner(law, 0) == int(race(law, torch.ones(size))) == 0


def test_law_whose_tokens_have_no_smallest_variate():
    """The token with mass wins, although all tokens with the smallest variate of a block have no mass."""
    noise = KeyedNoise(0)
    noise.winner(torch.ones(SMALL + 5), 0)
    token = (int(noise._races[0]._leaders[3]) + 1) % BLOCK + 3 * BLOCK
    assert noise.winner(torch.zeros(SMALL + 5).index_fill(0, torch.tensor(token), 1.0), 0) == token


@pytest.mark.parametrize("size", [100, SMALL, SMALL + 1, 3 * SMALL])
def test_kept_variates_are_limited(size: int, monkeypatch: pytest.MonkeyPatch):
    limit = 4 * SMALL
    monkeypatch.setattr("unisono.sampling.noise.KEPT", limit)
    noise = KeyedNoise(0)
    for position in range(2 * limit // size + 20):
        noise.winner(torch.softmax(row("flat", size, position), -1), position)
    kept = [each._known for each in noise._races.values()]
    variates = sum(max(len(each._all), len(each._least)) for each in noise._races.values())
    assert variates + BLOCK * sum(map(len, kept)) <= limit + BLOCK * len(kept)  # vectors end with a whole block


@pytest.mark.statistical
def test_variates_are_exponential():
    """200,000 variates against the cells of equal probability (false alarm 1e-9: 7 standard deviations of chi square).

    Also each place of a block has the smallest variate equally often, and neighbours are not correlated.
    """
    vectors = np.stack([KeyedNoise(seed).exponentials(seed % 3, 200 * BLOCK) for seed in range(32)])
    numbers = vectors.reshape(-1)
    cells = np.bincount((64 * -np.expm1(-numbers)).astype(int), minlength=64)
    assert _surprise(cells) < 7
    places = np.bincount(vectors.reshape(-1, BLOCK).argmin(-1), minlength=BLOCK)
    assert _surprise(places) < 7
    for shift in (1, 2, BLOCK):
        correlation = np.corrcoef(numbers[:-shift], numbers[shift:])[0, 1]
        assert abs(correlation) * math.sqrt(len(numbers)) < 7


def test_smallest_variate_of_a_block_is_one_of_its_variates():
    """The bound of a block is reached at the place that the block's first number names, and nowhere undercut."""
    noise = KeyedNoise(9)
    exponentials = Exponentials(lambda part, first, count: noise._words(1, part, first, count))
    blocks = exponentials.vector(10 * BLOCK).reshape(-1, BLOCK)
    assert np.array_equal(blocks.min(-1), exponentials._least)
    assert np.array_equal(blocks.argmin(-1) + np.arange(10) * BLOCK, exponentials._leaders)


def _surprise(counts: np.ndarray) -> float:
    """Return by how many standard deviations the chi square of equal cells is above its mean."""
    mean = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return float((((counts - mean) ** 2 / mean).sum() - freedom) / math.sqrt(2 * freedom))
