"""The draw by blocks gives the token of the cumulative sums of the whole law."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.core.wide_rows import KINDS, row
from unisono.sampling.inversion import BLOCK, inverse, inverse_whole

ENDS = [2.0**-53, 1 - 2.0**-53]


def assert_drawn(laws: Tensor, uniforms: Tensor) -> None:
    """The tokens are those of the reference, except where a cumulative sum is within rounding of the threshold."""
    found, wanted = inverse(laws, uniforms), inverse_whole(laws, uniforms)
    cumulative = laws.double().cumsum(-1)
    for law, sums, token, other, uniform in zip(laws, cumulative, found, wanted, uniforms, strict=True):
        assert law[token] > 0
        first, last = sorted([int(token), int(other)])
        assert ((sums[first:last] - uniform * sums[-1]).abs() <= 1e-12 * sums[-1]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2 * BLOCK, 2 * BLOCK + 1, 4 * BLOCK, 40_000])
def test_tokens_are_those_of_the_whole_sum(kind: str, dtype: torch.dtype, size: int):
    law = torch.softmax(row(kind, size, dtype=dtype), -1)
    uniforms = torch.tensor([*ENDS, *np.random.default_rng(0).random(60)], dtype=torch.float64)
    assert_drawn(law.expand(len(uniforms), -1), uniforms)


@given(st.integers(0, 10**6), st.integers(2 * BLOCK + 1, 6000), st.floats(2.0**-53, 1 - 2.0**-53))
def test_tokens_with_mass_in_few_places(seed: int, size: int, uniform: float):
    """Laws that do not sum to 1, with blocks without any mass: a token without mass is never drawn."""
    places = torch.randint(size, (3,), generator=torch.Generator().manual_seed(seed))
    law = torch.zeros(2, size).index_fill(1, places, 1e-7)
    law[1, places[0]] = 3.0
    assert_drawn(law, torch.tensor([uniform, uniform], dtype=torch.float64))


def test_each_token_has_its_share_of_the_unit_interval():
    """Thresholds just above and just below each border between two tokens give the two tokens."""
    law = torch.arange(3 * BLOCK, dtype=torch.float64) % 3
    borders = law.cumsum(0)[:-1] / law.sum()
    for shift, offset in ((1e-9, 1), (-1e-9, 0)):
        tokens = inverse(law.expand(len(borders), -1), borders + shift)
        wanted = inverse_whole(law.expand(len(borders), -1), borders + shift)
        assert torch.equal(tokens, wanted)
        assert bool((tokens[1::3] == torch.arange(1, len(borders), 3) + offset).all())


def test_threshold_that_equals_a_cumulative_sum():
    """The first token whose cumulative sum exceeds the threshold is drawn, not one whose sum equals it."""
    law = torch.ones(1, 4 * BLOCK)
    for token in (1, 77, BLOCK, 2 * BLOCK + 5, 4 * BLOCK - 1):
        uniforms = torch.tensor([token / (4 * BLOCK)], dtype=torch.float64)
        assert int(inverse(law, uniforms)) == token == int(inverse_whole(law, uniforms))


def test_rounding_at_the_end_of_a_block_draws_no_token_without_mass():
    """The sum of the last block and its last cumulative sum differ by rounding; zeros follow the last token with mass."""
    uniforms = torch.tensor([ENDS[1]], dtype=torch.float64)
    for seed in range(60):
        law = torch.rand(1, 3 * BLOCK, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        law[:, : 2 * BLOCK] = 0
        law[:, -50:] = 0
        assert law[0, int(inverse(law, uniforms))] > 0


@pytest.mark.parametrize("size", [5, 5000, 4 * BLOCK])
def test_no_laws_give_no_tokens(size: int):
    tokens = inverse(torch.rand(0, size), torch.empty(0, dtype=torch.float64))
    assert tokens.shape == (0,)
    assert tokens.dtype == torch.long


@pytest.mark.parametrize("fill", [float("nan"), 0.0])
def test_law_without_tokens_gives_a_valid_id(fill: float):
    for size in (5, 5000):
        tokens = inverse(torch.full((1, size), fill), torch.tensor([0.5], dtype=torch.float64))
        assert 0 <= int(tokens) < size
