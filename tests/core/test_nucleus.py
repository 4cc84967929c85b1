"""Top-p without sorting the vocabulary keeps the tokens that the definition by sorting keeps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.core.wide_rows import INF, KINDS, SIZES, row
from unisono.sampling.nucleus import keep_top_p, top_p_law
from unisono.sampling.warp import Warp

MASSES = [1e-9, 0.1, 0.5, 0.9, 0.999, 0.9999999]
TOLERANCE = 1e-6


def assert_kept(logits: Tensor, mass: float) -> None:
    """Only tokens whose cumulative probability is within `TOLERANCE` of the limit are on another side of it."""
    law, possible = top_p_law(logits, mass), torch.softmax(logits, -1) > 0
    kept, wanted = law > 0, (keep_top_p(logits, mass) > -INF) & possible
    assert abs(float(law.double().sum()) - 1) < TOLERANCE
    descending, order = logits.double().sort(stable=True, descending=True)
    sums = torch.softmax(descending.flip(0), 0).cumsum(0).flip(0)
    cumulative = torch.empty_like(sums).scatter(0, order, sums)
    other = kept != wanted
    assert bool(((cumulative[other] - (1 - mass)).abs() < TOLERANCE).all())
    assert torch.equal(law, Warp(top_p=mass)(logits))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kept_tokens_are_those_of_sorted_logits(kind: str, mass: float, dtype: torch.dtype):
    for size in SIZES:
        assert_kept(row(kind, size, dtype=dtype), mass)


@given(
    st.integers(0, 10**6), st.sampled_from(list(KINDS)), st.integers(1025, 3000), st.floats(1e-6, 1, exclude_max=True)
)
def test_kept_tokens_are_those_of_sorted_logits_for_any_mass(seed: int, kind: str, size: int, mass: float):
    assert_kept(row(kind, size, seed), mass)


@pytest.mark.parametrize("kept", [1, 2, 999, 1500, 1501, 2999, 3000])
def test_lowest_ids_of_equal_logits_are_kept(kept: int):
    """Equal logits at the limit: as many are kept as the mass needs, and they have the lowest ids."""
    logits = torch.zeros(4000, dtype=torch.float64)
    logits[::4] = -20
    found = top_p_law(logits, (kept - 0.5) / 3000) > 0
    assert torch.equal(found, keep_top_p(logits, (kept - 0.5) / 3000) > -INF)
    assert torch.equal(found.nonzero(), (logits == 0).nonzero()[:kept])


@pytest.mark.parametrize("size", [4, 300, 1500, 20_001])
def test_lowest_ids_of_a_uniform_law_are_kept(size: int):
    """The kernel for wide rows, its reference, and top-p after top-k keep the same ids. A tiny mass keeps id 0."""
    logits, count = torch.zeros(size, dtype=torch.float64), size // 2
    mass = (count - 0.5) / size
    for warp in (Warp(top_p=mass), Warp(top_p=mass, top_k=3)):
        kept = (warp(logits) > 0).nonzero()[:, 0]
        assert torch.equal(kept, torch.arange(count))
    assert Warp(top_p=1e-9)(logits)[0] == 1


def test_law_of_a_wide_row_is_that_of_sorted_logits():
    """In float64, to 1e-15, also in a batch of several dimensions and for a row without possible tokens."""
    logits = torch.stack([row(kind, 5000, dtype=torch.float64) for kind in KINDS] + [torch.full((5000,), -INF)])
    wanted = torch.softmax(keep_top_p(logits, 0.8), -1)
    found = Warp(top_p=0.8)(logits.reshape(2, -1, 5000)).reshape(-1, 5000)
    assert (found - wanted)[:-1].abs().max() < 1e-15
    assert bool(found[-1].isnan().all())


def test_logits_with_gradients_have_a_law():
    """As when a combination is fitted: the law depends on the logits of the nucleus."""
    logits = row("flat", 5000).requires_grad_()
    for warp in (Warp(), Warp(0.7), Warp(top_p=0.9), Warp(top_k=50), Warp(min_p=0.1)):
        (gradient,) = torch.autograd.grad(warp(logits)[7:9].sum() + warp(logits).amax(), logits)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_truncated_in_float32(dtype: torch.dtype):
    """Logits of half precision have the law of the same numbers in float32, rounded to the dtype of the logits."""
    logits = row("flat", 5000).to(dtype)
    law = Warp(top_p=0.9)(logits)
    wanted = torch.softmax(keep_top_p(logits.float(), 0.9), -1)
    assert torch.equal(law > 0, wanted.to(dtype) > 0)
    assert (law - wanted).abs().max() < 2**-8 * wanted.max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [1, 20, 1000])
def test_top_k_of_a_wide_row(kind: str, top_k: int):
    """After top-k, only its tokens are truncated: the law is that of the masked row, ties at the k-th logit included.

    A row that has no possible token, or that has nan, is nan at all tokens.
    """
    rows = [row(kind, 5000, seed, torch.float64) for seed in range(3)]
    empty, broken = torch.full_like(rows[0], -INF), rows[0].index_fill(0, torch.tensor([4321]), torch.nan)
    for warp in (Warp(top_k=top_k), Warp(0.7, top_k, 0.8, 0.1)):
        laws = warp(torch.stack([rows[0], empty, broken, rows[1]]))
        assert bool(laws[1:3].isnan().all())
        assert (laws[[0, 3]] - warp(torch.stack(rows[:2]))).abs().max() < 1e-15
    logits = torch.stack(rows)
    least = logits.sort(descending=True).values[:, top_k - 1 : top_k]
    masked = logits.masked_fill(logits < least, -INF)
    assert (Warp(top_k=top_k)(logits) - torch.softmax(masked, -1)).abs().max() < 1e-15
    wanted = torch.softmax(keep_top_p(masked, 0.8), -1)
    assert (Warp(top_k=top_k, top_p=0.8)(logits) - wanted).abs().max() < 1e-14


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1e-3, 0.1, 1.0])
def test_min_p_of_a_wide_row(kind: str, share: float):
    logits = row(kind, 5000, dtype=torch.float64)
    law = torch.softmax(logits, -1)
    wanted = torch.softmax(logits.masked_fill(law < share * law.max(), -INF), -1)
    assert (Warp(min_p=share)(logits) - wanted).abs().max() < 1e-15
