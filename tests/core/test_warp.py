"""The warp: the laws of transformers' own warpers, for any number of positions at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from tests.strategies import logits as any_logits
from unisono.params import SamplingParams
from unisono.sampling.warp import Warp, one_hot

INF = float("inf")
WARPS = [
    Warp(),
    Warp(0.7),
    Warp(1.6),
    Warp(top_k=1),
    Warp(top_k=4),
    Warp(top_p=0.9),
    Warp(top_p=0.3),
    Warp(top_p=1e-9),
    Warp(min_p=0.1),
    Warp(min_p=1.0),
    Warp(0.7, top_k=5, top_p=0.8),
    Warp(1.3, top_p=0.9, min_p=0.2),
    Warp(0.5, top_k=3, min_p=0.05),
    Warp(2.0, top_k=6, top_p=0.95, min_p=0.1),
]


def reference(logits: Tensor, warp: Warp) -> Tensor:
    """The law [K, V] by transformers' warpers in transformers' order."""
    no_tokens = torch.zeros(len(logits), 1, dtype=torch.long)
    scores = TemperatureLogitsWarper(warp.temperature)(no_tokens, logits)
    if warp.top_k:
        scores = TopKLogitsWarper(warp.top_k)(no_tokens, scores)
    if warp.top_p < 1:
        scores = TopPLogitsWarper(warp.top_p)(no_tokens, scores)
    if warp.min_p:
        scores = MinPLogitsWarper(warp.min_p)(no_tokens, scores)
    return torch.softmax(scores, -1)


def random_logits(seed: int, rows: int = 6) -> Tensor:
    """Unequal logits [rows, 11]; the first two rows have impossible tokens."""
    logits = 3 * torch.randn(rows, 11, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[0, 3:] = -INF
    logits[1, ::2] = -INF
    return logits


@pytest.mark.parametrize("warp", WARPS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_law_is_that_of_transformers(warp: Warp, dtype: torch.dtype, tolerance: float):
    """Temperature, top-k, top-p, min-p in this order give transformers' law, in the dtype of the logits."""
    logits = random_logits(0, rows=120).to(dtype)
    law, wanted = warp(logits), reference(logits, warp)
    assert law.dtype == dtype
    assert torch.equal(law > 0, wanted > 0)
    assert (law - wanted).abs().max() < tolerance


@pytest.mark.parametrize("warp", WARPS, ids=str)
def test_ties_are_kept_or_dropped_as_in_transformers(warp: Warp):
    """Equal logits: those at the border of top-k stay together, and top-p drops as many tokens.

    Top-p drops the highest ids first. Transformers drops the lowest ids first, so it gets the logits in reverse order.
    """
    logits = torch.randint(-1, 2, (120, 9), generator=torch.Generator().manual_seed(0)).double()
    law, wanted = warp(logits), reference(logits.flip(-1), warp).flip(-1)
    assert torch.equal(law > 0, wanted > 0)
    assert (law - wanted).abs().max() < 1e-14


@given(any_logits(), st.sampled_from([0.5, 1.0, 2.0]), st.integers(0, 7), st.sampled_from([0.0, 0.01, 0.5]))
def test_law_is_that_of_transformers_for_any_logits(logits: Tensor, temperature: float, top_k: int, min_p: float):
    """As above for logits with ties, -inf and extreme differences (top-p aside: its border is one rounding wide)."""
    warp = Warp(temperature, top_k=top_k, min_p=min_p)
    assert (warp(logits) - reference(logits, warp)).abs().max() < 1e-12


@given(any_logits(), st.sampled_from(WARPS))
def test_impossible_tokens_never_get_mass(logits: Tensor, warp: Warp):
    """A law sums to 1, has no nan, and a token whose logit is -inf has exactly no mass: padding cannot be drawn."""
    law = warp(logits)
    assert bool((law[logits == -INF] == 0).all())
    assert bool((law >= 0).all())
    assert (law.sum(-1) - 1).abs().max() < 1e-12
    assert bool((one_hot(logits)[logits == -INF] == 0).all())


@pytest.mark.parametrize("warp", WARPS, ids=str)
@pytest.mark.parametrize("size", [11, 20_000])
def test_position_without_possible_token_is_nan_at_all_tokens(warp: Warp, size: int):
    """Callers read one entry of a position to find out whether it has a law. Other positions keep their laws.

    A position with a logit that is nan or inf has no law either.
    """
    logits = torch.randn(4, size, generator=torch.Generator().manual_seed(0))
    wanted = warp(logits)
    logits[0] = -INF
    logits[1, 5] = torch.nan
    logits[2, 5:7] = INF
    law = warp(logits)
    assert bool(law[:3].isnan().all())
    assert torch.equal(law[3], wanted[3])


@pytest.mark.parametrize("warp", WARPS, ids=str)
@pytest.mark.parametrize("size", [11, 20_000])
def test_no_positions_have_no_laws(warp: Warp, size: int):
    for shape in ((0, size), (2, 0, size)):
        assert warp(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("warp", [*WARPS, Warp(0)], ids=str)
def test_host_reads_nothing_from_a_device(warp: Warp):
    """A tensor on the meta device has no values: reading one is an error."""
    law = warp(torch.randn(2, 20_000, device="meta"))
    assert law.device.type == "meta"


@pytest.mark.parametrize("warp", [*WARPS, Warp(0), Warp(1e-30), Warp(1e30)], ids=str)
def test_batched_is_row_by_row(warp: Warp):
    """The law of a position does not depend on what is computed beside it, in any number of dimensions."""
    logits = random_logits(1)
    singles = torch.stack([warp(row) for row in logits])
    assert (warp(logits) - singles).abs().max() < 1e-15
    assert (warp(logits.reshape(2, 3, 11)) - singles.reshape(2, 3, 11)).abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperature_zero_is_one_hot_at_the_lowest_of_the_largest(dtype: torch.dtype):
    """At temperature 0 the lowest id among the largest logits has all mass, whatever else is set."""
    logits = torch.tensor([[0, 2, 2, 1], [3, -INF, 3, 3], [-INF, -INF, -5, -INF]], dtype=dtype)
    wanted = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], dtype=dtype)
    for warp in (Warp(0), Warp(0, top_k=3, top_p=0.5, min_p=0.5)):
        assert warp.greedy
        assert torch.equal(warp(logits), wanted)


@pytest.mark.parametrize("temperature", [1e-4, 1e-30, 1e-40, 1e-300])
def test_tiny_temperature_does_not_overflow(temperature: float):
    """The smallest temperatures give the largest logits all mass, in equal shares, and no nan."""
    logits = torch.tensor([[900.0, 1000.0, -INF, 1000.0], [-5.0, -6.0, -7.0, -INF]])
    assert torch.equal(Warp(temperature)(logits), torch.tensor([[0, 0.5, 0, 0.5], [1, 0, 0, 0]]))


@pytest.mark.parametrize("temperature", [1e6, 1e30, 1e39, 1e300])
def test_huge_temperature_is_uniform_over_the_possible(temperature: float):
    """The largest temperatures give all possible tokens equal mass, and still none to the impossible."""
    law = Warp(temperature)(torch.tensor([[5.0, -3.0, -INF, 0.0]]))
    assert (law - torch.tensor([[1.0, 1.0, 0.0, 1.0]]) / 3).abs().max() < 1e-5
    assert law[0, 2] == 0


def test_top_k_beyond_the_vocabulary_keeps_everything():
    """Any top-k of the vocabulary's size or more is off, as in transformers."""
    logits = random_logits(2)
    for top_k in (11, 12, 10**9):
        assert torch.equal(Warp(top_k=top_k)(logits), Warp()(logits))


@pytest.mark.parametrize("warp", [Warp(0.5, top_k=2), Warp(1.0, top_k=3)], ids=str)
def test_top_k_sees_differences_beside_a_large_logit(warp: Warp):
    """Logits that differ by less than the largest one can resolve are still told apart, as in transformers."""
    logits = torch.tensor([[1e-9, 0, 10, 3e-9, -4e-9]])
    assert torch.equal(warp(logits) > 0, reference(logits, warp) > 0)


def test_constants_do_not_matter():
    """Adding a number to all logits of a position changes nothing."""
    logits = random_logits(3)
    for warp in WARPS:
        assert (warp(logits + 500) - warp(logits)).abs().max() < 1e-11


def test_logits_are_not_changed():
    """A warp leaves its input alone: members' scores are used again."""
    logits = random_logits(4)
    before = logits.clone()
    for warp in [*WARPS, Warp(0)]:
        warp(logits)
    assert torch.equal(logits, before)


def test_warp_of_a_request():
    """Every sampling parameter that shapes the law arrives in the warp."""
    params = SamplingParams(temperature=0.7, top_k=3, top_p=0.8, min_p=0.1)
    assert Warp.of(params) == Warp(0.7, 3, 0.8, 0.1)
    assert Warp.of(SamplingParams()) == Warp() == Warp.of(params).untempered()
