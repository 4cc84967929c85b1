"""Hypothesis strategies: laws with zeros, pairs of laws that are equal, disjoint or one-hot, batched logits."""

import torch
from hypothesis import strategies as st
from torch import Tensor

# Zeros, equal masses and masses of very different size are all likely
MASSES = st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-12, 1.0), st.floats(1e-300, 1e-290))


def _normalised(masses: list[float]) -> Tensor:
    law = torch.tensor(masses, dtype=torch.float64)
    return law / law.sum()


def laws(vocabulary: int) -> st.SearchStrategy[Tensor]:
    """A law [V] in float64."""
    return st.lists(MASSES, min_size=vocabulary, max_size=vocabulary).filter(lambda m: sum(m) > 1e-290).map(_normalised)


def one_hots(vocabulary: int) -> st.SearchStrategy[Tensor]:
    return st.integers(0, vocabulary - 1).map(lambda token: torch.eye(vocabulary, dtype=torch.float64)[token])


@st.composite
def disjoint_pairs(draw: st.DrawFn, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Two laws without a common token; `vocabulary` is at least 2."""
    border = draw(st.integers(1, vocabulary - 1))
    left, right = draw(laws(border)), draw(laws(vocabulary - border))
    empty = torch.zeros(vocabulary, dtype=torch.float64)
    return torch.cat([left, empty[border:]]), torch.cat([empty[:border], right])


@st.composite
def law_pairs(draw: st.DrawFn, largest: int = 8) -> tuple[Tensor, Tensor]:
    """Two laws over one vocabulary: any, equal, nearly equal, one-hot or disjoint."""
    vocabulary = draw(st.integers(2, largest))
    any_law = laws(vocabulary)
    first = draw(st.one_of(any_law, one_hots(vocabulary)))
    nearly = draw(any_law) * 1e-15 + first
    equal = st.sampled_from([first, nearly / nearly.sum()]).map(lambda law: (first, law))
    unequal = st.tuples(st.just(first), st.one_of(any_law, one_hots(vocabulary)))
    return draw(st.one_of(unequal, equal, disjoint_pairs(vocabulary)))


@st.composite
def logits(draw: st.DrawFn, rows: int = 3, vocabulary: int = 5) -> Tensor:
    """Logits [rows, V] in float64 with ties and -inf; every row has a finite entry."""
    # Multiples of 1/64: sums and differences are exact, so that ties stay ties
    entry = st.one_of(st.integers(-2000, 2000), st.integers(-3, 3), st.just(-float("inf"))).map(
        lambda value: value / 64
    )
    row = st.lists(entry, min_size=vocabulary, max_size=vocabulary).filter(lambda values: max(values) > -float("inf"))
    return torch.tensor(draw(st.lists(row, min_size=rows, max_size=rows)), dtype=torch.float64)
