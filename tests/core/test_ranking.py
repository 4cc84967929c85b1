"""The largest scores without sorting are those of a stable sort; the lowest id wins a tie."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.core.wide_rows import INF, KINDS, SIZES, row
from unisono.sampling.ranking import best, largest, largest_sorted, top


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 5, 20, 1025])
def test_largest_are_those_of_a_stable_sort(kind: str, count: int):
    for size in SIZES:
        scores = torch.stack([row(kind, size, seed) for seed in range(2)])
        for found, wanted in zip(largest(scores, count), largest_sorted(scores, count), strict=True):
            assert torch.equal(found, wanted)


@given(st.integers(0, 10**6), st.sampled_from([0, 1, 3]), st.integers(1, 30), st.integers(4097, 6000))
def test_lowest_ids_win_ties(seed: int, spread: int, count: int, size: int):
    """Rows of few different values, some of them -inf: nearly every rank is a tie."""
    scores = torch.randint(-spread, spread + 1, (2, 3, size), generator=torch.Generator().manual_seed(seed)).float()
    scores[0, 0, : size - count // 2] = -INF
    for found, wanted in zip(largest(scores, count), largest_sorted(scores, count), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_best_is_the_argmax(kind: str, dtype: torch.dtype):
    scores = torch.stack([row(kind, 5000, seed) for seed in range(4)]).to(dtype).view(2, 2, 5000)
    assert torch.equal(best(scores), scores.argmax(-1))
    assert int(best(scores[0, 0])) == int(largest_sorted(scores[0, 0], 1)[1])


@pytest.mark.parametrize("count", [1, 3, 10])
def test_last_scores_of_a_row_count(count: int):
    """The tokens behind the last whole block may be the largest ones."""
    scores = row("flat", 5001)
    scores[-3:] = torch.tensor([9.0, 11.0, 10.0])
    assert largest(scores, count)[1].tolist() == largest_sorted(scores, count)[1].tolist()
    assert int(best(scores)) == 4999


def test_nan_is_largest():
    """As in a sort: a law without possible tokens is nan everywhere, and nothing is raised."""
    scores = row("flat", 5000).index_fill(0, torch.tensor([17, 4000]), float("nan"))
    assert largest(scores, 5)[1].tolist() == largest_sorted(scores, 5)[1].tolist()
    assert int(best(scores)) == 17
    nothing = torch.full((1, 5000), float("nan"))
    assert largest(nothing, 3)[1].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("kind", KINDS)
def test_top_finds_the_largest_values(kind: str):
    """In a row that is divided into blocks; the ids belong to the values and are all different."""
    scores = row(kind, 40_000).unsqueeze(0)
    values, ids = top(scores, 21)
    assert torch.equal(values, scores.topk(21).values)
    assert torch.equal(scores.gather(-1, ids), values)
    assert len(set(ids[0].tolist())) == 21
