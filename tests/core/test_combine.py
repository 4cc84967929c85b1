"""Combinations: the law of each is its formula, and stays a law where members rule tokens out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.laws import law_of
from tests.strategies import laws
from unisono.combine import (
    Combination,
    cascade,
    contrastive,
    contrastive_masked,
    custom,
    only,
    product,
    realign,
    weighted,
)
from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp, Warp

INF = float("inf")
WARPS = [Warp(), Warp(0.7), Warp(1.5, top_k=4), Warp(top_p=0.8), Warp(0.8, top_k=5, top_p=0.9, min_p=0.05)]


def even_mixture(logits: list[Tensor], warp: AnyWarp) -> Tensor:
    return torch.stack([warp(member) for member in logits]).mean(0)


FOR_TWO: list[Combination] = [
    weighted([0.7, 0.3]),
    weighted([0.7, 0.3], order="combine-first"),
    product([0.7, 0.3]),
    product([1, 1]),
    contrastive(0.3),
    contrastive_masked(0.1, 0.5),
    only(1),
    custom(even_mixture),
]
FOR_ANY = FOR_TWO[:4]
ALL = pytest.mark.parametrize("combination", FOR_TWO, ids=lambda combination: combination.name)
ALL_WARPS = pytest.mark.parametrize("warp", WARPS, ids=str)


def members(count: int, seed: int = 0, rows: int = 4, vocabulary: int = 7) -> list[Tensor]:
    """Logits [rows, V] per member, float64, not normalised."""
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64) for _ in range(count)]


def same(left: Tensor, right: Tensor) -> bool:
    return bool((left - right).abs().max() < 1e-13)


def norm(masses: Tensor) -> Tensor:
    return masses / masses.sum(-1, keepdim=True)


@ALL_WARPS
def test_weighted_warp_first_is_the_mixture_of_warped_laws(warp: AnyWarp):
    """`r = sum_i w_i warp(l_i)`; weights are relative."""
    a, b, c = members(3)
    wanted = 0.5 * warp(a) + 0.3 * warp(b) + 0.2 * warp(c)
    assert same(law_of(weighted([0.5, 0.3, 0.2]), [a, b, c], warp), wanted)
    assert same(law_of(weighted([5, 3, 2]), [a, b, c], warp), wanted)


@ALL_WARPS
def test_weighted_combine_first_is_the_warped_mixture(warp: AnyWarp):
    """`r = warp(log sum_i w_i softmax(l_i))`: tempering the mixture is not mixing the tempered."""
    a, b, c = members(3)
    mixture = 0.5 * torch.softmax(a, -1) + 0.3 * torch.softmax(b, -1) + 0.2 * torch.softmax(c, -1)
    found = law_of(weighted([0.5, 0.3, 0.2], order="combine-first"), [a, b, c], warp)
    assert same(found, warp(mixture.log()))
    assert same(found, law_of(weighted([0.5, 0.3, 0.2]), [a, b, c], warp)) == (warp == Warp())


def test_orders_by_hand():
    """Two members at temperature 1/2, top-k 1: mixing the truncated keeps two tokens, truncating the mixture one."""
    a, b = torch.tensor([[0.6, 0.4]]).log(), torch.tensor([[0.2, 0.8]]).log()
    half = torch.tensor([[0.36 / 0.52, 0.16 / 0.52]]), torch.tensor([[0.04 / 0.68, 0.64 / 0.68]])
    assert torch.allclose(law_of(weighted([1, 1]), [a, b], Warp(0.5)), (half[0] + half[1]) / 2)
    assert torch.allclose(
        law_of(weighted([1, 1], "combine-first"), [a, b], Warp(0.5)), torch.tensor([[0.16, 0.36]]) / 0.52
    )
    assert torch.allclose(law_of(weighted([1, 1]), [a, b], Warp(top_k=1)), torch.tensor([[0.5, 0.5]]))
    assert torch.allclose(law_of(weighted([1, 1], "combine-first"), [a, b], Warp(top_k=1)), torch.tensor([[0.0, 1.0]]))


@ALL_WARPS
def test_product_is_the_normalised_product_of_powers(warp: AnyWarp):
    """`r ∝ prod_i p_i ** w_i`, then warped; exponents are not normalised."""
    a, b, c = members(3)
    p, q, s = (torch.softmax(logits, -1) for logits in (a, b, c))
    assert same(law_of(product([0.5, 0.3, 0.2]), [a, b, c], warp), warp((p**0.5 * q**0.3 * s**0.2).log()))
    assert same(law_of(product([1, 1, 1]), [a, b, c], Warp()), norm(p * q * s))


@ALL_WARPS
def test_contrastive_is_the_ratio_of_expert_and_amateur(warp: AnyWarp):
    """`r ∝ p_expert / p_amateur ** mu`, then warped; the expert is listed first."""
    expert, amateur = members(2)
    ratio = torch.softmax(expert, -1) / torch.softmax(amateur, -1) ** 0.3
    assert same(law_of(contrastive(0.3), [expert, amateur], warp), warp(ratio.log()))
    assert same(law_of(contrastive(0.0), [expert, amateur], warp), warp(expert))


@ALL_WARPS
def test_contrastive_masked_keeps_what_the_expert_finds_plausible(warp: AnyWarp):
    """`r ∝ p_e ** (1 + beta) / p_a ** beta` where `p_e >= alpha max p_e`, else 0; then warped."""
    expert, amateur = members(2)
    p, q = torch.softmax(expert, -1), torch.softmax(amateur, -1)
    kept = p >= 0.2 * p.amax(-1, keepdim=True)
    assert 0 < int(kept.sum()) < kept.numel()
    scores = torch.where(kept, p**1.5 / q**0.5, torch.zeros(())).log()
    assert same(law_of(contrastive_masked(0.2, 0.5), [expert, amateur], warp), warp(scores))


@ALL_WARPS
def test_only_is_the_law_of_one_member(warp: AnyWarp):
    """`r = warp(l_i)`: the others may propose but have no say, and are not needed."""
    logits = members(3)
    for index in range(3):
        assert same(law_of(only(index), logits, warp), warp(logits[index]))
        assert only(index).needed(3) == (index,)
    assert weighted([1, 1, 1]).needed(3) == (0, 1, 2)


def test_custom_is_what_the_function_returns():
    """A function gets one tensor per member and the warp; its law is used as it is, its name reported."""
    logits = members(2)
    assert same(law_of(custom(even_mixture), logits, Warp(0.5)), even_mixture(logits, Warp(0.5)))
    assert custom(even_mixture).name == "even_mixture"
    assert custom(even_mixture).needed(2) == (0, 1)


def test_a_law_that_is_nearly_normalised_is_normalised():
    """Rounding in a user's law must not be accepted by one schedule and redrawn by another: it sums to 1 afterwards."""
    logits = members(2)
    for law in (
        custom(lambda logits, warp: 0.9995 * warp(logits[0])),
        custom(lambda logits, warp: warp(logits[0]).bfloat16()),
    ):
        found = law_of(law, logits, Warp())
        assert found.dtype == torch.float64
        assert (found.sum(-1) - 1).abs().max() < 1e-12
        assert (found - Warp()(logits[0])).abs().max() < 5e-3


@ALL
@ALL_WARPS
def test_every_combination_gives_laws_row_by_row(combination: Combination, warp: AnyWarp):
    """The law at a position is the same alone and beside others; it sums to 1; the members' scores are left alone."""
    logits = members(2, seed=5)
    before = [member.clone() for member in logits]
    law = law_of(combination, logits, warp)
    assert (law.sum(-1) - 1).abs().max() < 1e-12
    assert same(law, torch.cat([law_of(combination, [a[None], b[None]], warp) for a, b in zip(*logits, strict=True)]))
    assert all(torch.equal(member, copy) for member, copy in zip(logits, before, strict=True))


@pytest.mark.parametrize("combination", FOR_TWO, ids=lambda combination: combination.name)
@ALL_WARPS
def test_a_constant_added_to_a_members_logits_changes_nothing(combination: Combination, warp: AnyWarp):
    """Logits mean the same whatever their normalisation, for every member by itself."""
    a, b = members(2, seed=6)
    shifted = law_of(combination, [a + 17, b - torch.arange(4.0, dtype=torch.float64)[:, None]], warp)
    assert (shifted - law_of(combination, [a, b], warp)).abs().max() < 1e-12


@ALL_WARPS
@pytest.mark.parametrize("order", ["warp-first", "combine-first"])
def test_a_member_of_weight_zero_changes_nothing(warp: AnyWarp, order: str):
    """With weight 0 in a mixture a member may even rule tokens out that the others want."""
    a, b, c = members(3, seed=7)
    c[:, ::2] = -INF
    assert same(
        law_of(weighted([0.7, 0.3, 0], order), [a, b, c], warp), law_of(weighted([0.7, 0.3], order), [a, b], warp)
    )


@ALL_WARPS
def test_an_exponent_of_zero_changes_nothing(warp: AnyWarp):
    """A factor to the power 0 leaves a product as it is, where that factor is possible at all."""
    a, b, c = members(3, seed=8)
    assert same(law_of(product([0.7, 0.3, 0]), [a, b, c], warp), law_of(product([0.7, 0.3]), [a, b], warp))


@ALL_WARPS
def test_members_may_be_listed_in_any_order(warp: AnyWarp):
    """Permuting members together with their weights changes nothing."""
    a, b, c = members(3, seed=9)
    for build in (weighted, lambda w: weighted(w, order="combine-first"), product):
        assert same(law_of(build([0.5, 0.3, 0.2]), [a, b, c], warp), law_of(build([0.2, 0.5, 0.3]), [c, a, b], warp))


@ALL_WARPS
def test_equal_members_give_their_own_law(warp: AnyWarp):
    """A mixture, geometric mean or masked contrast of a member with itself is that member."""
    (a,) = members(1, seed=10)
    for combination in (*FOR_ANY[:3], contrastive_masked(1e-9, 0.5), only(1)):
        assert (law_of(combination, [a, a], warp) - warp(a)).abs().max() < 1e-13
    assert same(law_of(contrastive(0.25), [a, a], Warp()), torch.softmax(0.75 * a, -1))


@ALL
@pytest.mark.parametrize("warp", [*WARPS, Warp(0)], ids=str)
def test_tokens_that_some_members_rule_out(combination: Combination, warp: AnyWarp):
    """-inf in any member's logits never becomes nan; what all members rule out has no mass."""
    a, b = members(2, seed=11)
    a[:, :2], b[:, 1:4] = -INF, -INF
    law = law_of(combination, [a, b], warp)
    assert (law.sum(-1) - 1).abs().max() < 1e-12
    assert bool((law >= 0).all())
    assert bool((law[:, 1] == 0).all())


@ALL_WARPS
def test_one_member_that_rules_a_token_out_has_a_veto_on_logits(warp: AnyWarp):
    """In products and contrasts a token that any member rules out has no mass; in a mixture it keeps the others' share."""
    a, b = members(2, seed=12)
    for first, second in ((a.clone(), b), (a, b.clone())):
        (first if first is not a else second)[:, 3] = -INF
        for combination in (product([0.7, 0.3]), product([1, 0]), contrastive(0.3), contrastive(-0.3)):
            assert bool((law_of(combination, [first, second], warp)[:, 3] == 0).all())
        assert bool((law_of(contrastive_masked(1e-6), [first, second], warp)[:, 3] == 0).all())
        assert bool((law_of(weighted([1, 1]), [first, second], Warp())[:, 3] > 0).all())


@given(st.integers(2, 6).flatmap(lambda size: st.tuples(*[laws(size)] * 3)), st.sampled_from([Warp(), Warp(0.5)]))
def test_mixtures_of_any_laws(triple: tuple[Tensor, ...], warp: Warp):
    """With zeros, equal and disjoint laws, both orders give the mixture, without nan."""
    logits = [law.log().unsqueeze(0) for law in triple]
    mixture = 0.5 * triple[0] + 0.3 * triple[1] + 0.2 * triple[2]
    power = 1 / warp.temperature
    mixed = sum(w * norm(law**power) for w, law in zip((0.5, 0.3, 0.2), triple, strict=True))
    assert (law_of(weighted([0.5, 0.3, 0.2]), logits, warp)[0] - mixed).abs().max() < 1e-12
    found = law_of(weighted([0.5, 0.3, 0.2], "combine-first"), logits, warp)[0]
    assert (found - norm(mixture**power)).abs().max() < 1e-12


@ALL
def test_temperature_zero_is_the_best_token_at_temperature_one(combination: Combination):
    """At T=0 the law is one-hot at the largest entry of the combination at T=1 without truncation."""
    logits = members(2, rows=100)
    best = law_of(combination, logits, Warp()).argmax(-1)
    for warp in (Warp(0), Warp(0, top_k=1, top_p=0.1, min_p=0.9)):
        law = law_of(combination, logits, warp)
        assert torch.equal(law, torch.nn.functional.one_hot(best, 7).double())


def test_temperature_zero_follows_the_combination_not_a_member():
    """Both orders agree at T=0, also where the best token of the mixture is the best of neither member."""
    a, b = torch.tensor([[0.5, 0.4, 0.1]]).log(), torch.tensor([[0.1, 0.4, 0.5]]).log()
    for order in ("warp-first", "combine-first"):
        assert torch.equal(law_of(weighted([1, 1], order), [a, b], Warp(0)), torch.tensor([[0.0, 1, 0]]))
    tied = torch.tensor([[0.3, 0.35, 0.35]]).log()
    for combination in FOR_TWO[:4]:
        assert torch.equal(law_of(combination, [tied, tied], Warp(0)), torch.tensor([[0.0, 1, 0]]))


def test_weights_of_members():
    """The weight that decides between proposers of equal size is the member's own."""
    weights = {
        weighted([3, 1]): [0.75, 0.25],
        product([2, 1]): [2, 1],
        contrastive(0.3): [1, 0],
        realign(1.5): [1.5, 0.5],
        cascade("opt"): [0, 0],
        only(1): [0, 0],
        custom(even_mixture): [0, 0],
    }
    for combination, wanted in weights.items():
        assert [combination.traits(Warp()).weight(member) for member in (0, 1)] == wanted, combination.name


INVALID = pytest.mark.parametrize("build", [weighted, product])


@INVALID
@pytest.mark.parametrize("weights", [[], [0, 0], [0.5, -0.1], [float("nan"), 1], [INF, 1], [-INF, 1], [1e308, 1e308]])
def test_weights_that_make_no_law_are_refused(build, weights: list[float]):
    """Weights are finite, also in sum, 0 or more, and not all 0; the message shows them."""
    with pytest.raises(ConfigurationError, match="weights"):
        build(weights)


@INVALID
@pytest.mark.parametrize("weights", [["a", 1], [None, 1], 0.5, None])
def test_weights_that_are_no_numbers_are_refused(build, weights: object):
    """A wrong type is a ConfigurationError too, not the error of whatever stumbles over it."""
    with pytest.raises(ConfigurationError, match="numbers"):
        build(weights)


@pytest.mark.parametrize(
    "build",
    [
        lambda: contrastive("a"),  # type: ignore[arg-type]
        lambda: contrastive_masked(beta=None),  # type: ignore[arg-type]
        lambda: custom(3),  # type: ignore[arg-type]
        lambda: contrastive(float("nan")),
        lambda: contrastive(INF),
        lambda: contrastive_masked(alpha=0),
        lambda: contrastive_masked(alpha=1.01),
        lambda: contrastive_masked(alpha=-0.1),
        lambda: contrastive_masked(alpha=float("nan")),
        lambda: contrastive_masked(beta=INF),
        lambda: only(-1),
        lambda: only(True),
        lambda: only(1.0),  # type: ignore[arg-type]
        lambda: weighted([1, 1], order="mixed"),
    ],
)
def test_parameters_out_of_range_are_refused(build):
    """Every parameter that makes no law is an error when the combination is made."""
    with pytest.raises(ConfigurationError):
        build()


@pytest.mark.parametrize(
    ("combination", "wrong"),
    [
        (weighted([1, 1]), (1, 3)),
        (product([1, 1]), (1, 3)),
        (contrastive(), (1, 3)),
        (contrastive_masked(), (1, 3)),
        (only(1), (1,)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_number_of_members_is_checked(combination: Combination, wrong: tuple[int, ...]):
    """A combination that is not one of so many members says so before anything is decoded."""
    combination.check(2)
    for count in wrong:
        with pytest.raises(ConfigurationError, match=str(count)):
            combination.check(count)


@pytest.mark.parametrize(
    "function",
    [
        lambda logits, warp: logits[0],
        lambda logits, warp: warp(logits[0])[..., :-1],
        lambda logits, warp: warp(logits[0])[:1],
        lambda logits, warp: warp(logits[0]).tolist(),
        lambda logits, warp: None,
        lambda logits, warp: warp(logits[0]) * float("nan"),
        lambda logits, warp: warp(logits[0]) * 0.9,
        lambda logits, warp: torch.zeros_like(logits[0]),
        lambda logits, warp: 2 * warp(logits[0]) - warp(logits[1]),
    ],
    ids=["logits", "vocabulary", "rows", "list", "none", "nan", "sum", "zero", "negative"],
)
def test_a_function_that_returns_no_law_is_refused(function):
    """What is not a law of the right shape is an error that names the function."""
    with pytest.raises(ConfigurationError, match="lambda"):
        law_of(custom(function), members(2), Warp())
