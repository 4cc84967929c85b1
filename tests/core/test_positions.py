"""What a combination reads: the members' laws, which are made once, and what it declares in `reads`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.laws import law_of
from unisono.combine import (
    Combination,
    Positions,
    as_combination,
    cascade,
    context_aware,
    contrastive,
    contrastive_masked,
    cosd,
    cosd_tree,
    custom,
    drawn,
    gate,
    guidance,
    nudge,
    only,
    product,
    proxy,
    realign,
    weighted,
)
from unisono.combine.base import target_law
from unisono.combine.parse import FORMS
from unisono.combine.positions import READS
from unisono.combine.tree import Leaf, Tree, write_tree
from unisono.errors import ConfigurationError
from unisono.sampling.logits_edits import EditedWarp, Edits
from unisono.sampling.warp import AnyWarp, Warp

COMBINE_FIRST = {
    "weighted": weighted([0.7, 0.3], order="combine-first"),
    "product": product([0.7, 0.3]),
    "contrastive": contrastive(0.3),
    "contrastive_masked": contrastive_masked(0.1, 0.5),
    "proxy": proxy(0.5),
    "realign": realign(1.5),
    "guidance": guidance(1.5),
    "context_aware": context_aware(0.5),
    "only": only(1),
}
OF_LAWS = {
    "weighted": weighted([0.7, 0.3]),
    "drawn": drawn([0.7, 0.3]),
    "cosd": cosd(0.5, 0.5),
    "cascade": cascade("chow", 0.5),
    "nudge": nudge(0.5),
    "gate": gate([2, 1], 0.5),
}
OPT_AND_TOKENV3 = {"opt": cascade("opt", 0.5), "tokenv3": cascade("tokenv3", 0.4)}
PREFIXES = [(1,) * (row % 3) for row in range(8)]
EDITED = EditedWarp(Warp(), Edits(bias={2: -3.0}, presence=0.5), (0,), PREFIXES)
WARPS = [Warp(), Warp(0.7, top_k=3), Warp(0), EDITED, EditedWarp(Warp(0.7), EDITED.edits, (0,), PREFIXES)]
ALL_WARPS = pytest.mark.parametrize("warp", WARPS, ids=str)


@pytest.fixture
def tree(tmp_path: Path) -> Combination:
    file = tmp_path / "tree.json"
    write_tree(Tree("p_draft", 0.4, Tree("p_assistant", 0.3, Leaf(False), Leaf(True)), Leaf(False)), file)
    return cosd_tree(str(file))


def members(count: int, seed: int = 0) -> list[Tensor]:
    """Logits [8, 6] per member, float64; a token is impossible for the first member."""
    generator = torch.Generator().manual_seed(seed)
    logits = [3 * torch.randn(8, 6, generator=generator, dtype=torch.float64) for _ in range(count)]
    logits[0][:, 5] = -torch.inf
    return logits


def one_line(function: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as error:
        function()
    assert "\n" not in str(error.value)
    return str(error.value)


class Reading(Combination):
    """A law that reads what it may not have declared."""

    name = "reading"

    def __init__(self, word: str) -> None:
        self.word = word

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        getattr(positions, self.word)
        return positions.scores[0].law


@pytest.mark.parametrize("word", [*READS, "prompt"])
def test_reading_what_is_not_declared_is_an_error_that_names_it(word: str):
    declared = "tokens" if word == "prompt" else word
    message = one_line(lambda: law_of(Reading(word), members(2), Warp()))
    assert message == f'the combination must declare that it reads {declared}: reads = {{"{declared}"}}'


def test_what_is_declared_is_given():
    one = torch.zeros(1, dtype=torch.float64)
    scores, given = Positions.of(members(2), Warp()).scores, [[one] * 8] * 2
    positions = Positions(scores, None, [(0, 3)] * 8, PREFIXES, given, given, [one, one])
    assert (positions.prompt[0], positions.tokens) == ((0, 3), PREFIXES)
    assert positions.loglikelihood is positions.prompt_loglikelihood is given
    assert positions.features == [one, one]


def test_an_unknown_word_in_reads_is_refused():
    class Misspelt(Combination):
        name = "misspelt"
        reads = frozenset({"tokens", "loglikelihoods"})

        def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
            return positions.scores[0].law

    message = one_line(lambda: as_combination(Misspelt(), 2))
    assert message.startswith(
        "unknown word in reads of combination misspelt: 'loglikelihoods'; did you mean 'loglikelihood'?"
    )


def test_every_combination_is_in_these_tests():
    assert {*COMBINE_FIRST, *OF_LAWS, "cosd_tree"} == set(FORMS)


@ALL_WARPS
@pytest.mark.parametrize("name", COMBINE_FIRST)
def test_scores_are_what_the_warp_is_applied_to(name: str, warp: AnyWarp):
    """The law is the warp of `scores`, constants included."""
    logits = members(3 if name == "proxy" else 2)
    scores = COMBINE_FIRST[name].scores(logits)
    assert scores is not None
    assert torch.equal(law_of(COMBINE_FIRST[name], logits, warp), warp(scores))


def test_scores_are_the_formula_with_its_constants():
    a, b, c = members(3)
    impossible = a.isneginf()
    wanted = {
        "weighted": (0.7 * a.softmax(-1) + 0.3 * b.softmax(-1)).log(),
        "product": (0.7 * a + 0.3 * b),
        "contrastive": a - 0.3 * b,
        "contrastive_masked": (1.5 * a - 0.5 * b).masked_fill(
            a < a.amax(-1, keepdim=True) - torch.tensor(10.0).log(), -torch.inf
        ),
        "proxy": a + 0.5 * (b - c),
        "realign": 1.5 * a - 0.5 * b,
        "guidance": 1.5 * a - 0.5 * b,
        "context_aware": 1.5 * a - 0.5 * b,
        "only": b,
    }
    for name, combination in COMBINE_FIRST.items():
        found = combination.scores([a, b, c] if name == "proxy" else [a, b])
        ruled_out = impossible if name not in ("weighted", "only") else torch.zeros_like(impossible)
        torch.testing.assert_close(found, wanted[name].masked_fill(ruled_out, -torch.inf), atol=1e-12, rtol=0, msg=name)


def test_other_combinations_have_no_scores(tree: Combination):
    for combination in (
        *OF_LAWS.values(),
        *OPT_AND_TOKENV3.values(),
        tree,
        custom(lambda logits, warp: warp(logits[0])),
    ):
        assert combination.scores(members(2)) is None, combination.name


@dataclass(frozen=True)
class Unused:
    """A warp that must not be called: the members' laws have been made."""

    warp: AnyWarp
    greedy = False

    def untempered(self) -> AnyWarp:
        return self.warp.untempered()

    def __call__(self, logits: Tensor) -> Tensor:
        raise AssertionError("a law was made again")


@pytest.mark.parametrize("warp", [Warp(), Warp(0.7, top_k=3)], ids=str)
def test_laws_are_read_not_made_again(warp: AnyWarp, tree: Combination):
    """Mixtures read the members' laws; rules read the raw laws."""
    logits = members(2)
    for combination in (*OF_LAWS.values(), *OPT_AND_TOKENV3.values(), only(1), tree):
        positions = Positions.of(logits, warp)
        found = combination.law(positions, Unused(warp))
        assert torch.equal(found, law_of(combination, logits, warp)), combination.name


@ALL_WARPS
def test_nothing_that_is_read_is_written_to(warp: AnyWarp, tree: Combination):
    """The decode loop keeps logits and laws and reads them again."""

    def rude(logits: list[Tensor], warp: AnyWarp) -> Tensor:
        for member in logits:
            member.mul_(0.5)
        return warp(logits[0])

    pairs = [*COMBINE_FIRST.values(), *OF_LAWS.values(), *OPT_AND_TOKENV3.values(), tree, custom(rude)]
    for combination in pairs:
        positions = Positions.of(members(3 if combination == proxy(0.5) else 2), warp)
        kept = [tensor for member in positions.scores for tensor in (member.logits, member.law, member.raw)]
        before = [tensor.clone() for tensor in kept]
        target_law(combination, positions, warp)
        certainty = combination.traits(warp).certainty
        if certainty is not None:
            early = Positions(positions.scores, frozenset({0}))
            certainty.fixed(early, warp)
            certainty.certain(early, warp, torch.zeros(8, dtype=torch.long), torch.ones(8, dtype=torch.float64))
        assert all(torch.equal(*each) for each in zip(kept, before, strict=True)), combination.name


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (lambda law: law[..., :-1], r"must return a law of shape \(8, 6\), not: \(8, 5\)"),
        (lambda law: law[:1], r"must return a law of shape \(8, 6\), not: \(1, 6\)"),
        (lambda law: law.tolist(), r"must return a law of shape \(8, 6\), not: list"),
        (lambda law: law * float("nan"), "must return probabilities that are 0 or more and sum to 1"),
        (lambda law: law * 0.9, "must return probabilities that are 0 or more and sum to 1"),
        (lambda law: 1.5 * law - 0.5 / 6, "must return probabilities that are 0 or more and sum to 1"),
    ],
    ids=["vocabulary", "rows", "list", "nan", "sum", "negative"],
)
@pytest.mark.parametrize("warp", [Warp(0.7), Warp(0)], ids=str)
def test_a_class_whose_law_is_none_is_refused(law: Callable[[Tensor], Any], message: str, warp: Warp):
    """A user's subclass is checked like a user's function; the message names it."""

    class Wrong(Combination):
        name = "wrong"

        def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
            return law(positions.scores[0].law)  # type: ignore[no-any-return]

    with pytest.raises(ConfigurationError, match=f"combination wrong {message}") as error:
        law_of(Wrong(), members(2), warp)
    assert "\n" not in str(error.value)


class Second(Combination):
    """A user's subclass that combines logits."""

    name = "second"

    def scores(self, logits: Any) -> Tensor:
        return logits[1] + 1.0  # type: ignore[no-any-return]


@ALL_WARPS
def test_a_subclass_that_defines_scores_has_their_law(warp: AnyWarp):
    logits, second = members(2), Second()
    assert as_combination(second, 2) is second
    torch.testing.assert_close(law_of(second, logits, warp), warp(logits[1]), atol=1e-12, rtol=0)


def test_an_object_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A text may name an object as well as a function; a class in place of an object is refused."""
    source = "from tests.core.test_positions import Second\nlaw = Second()\n"
    (tmp_path / "law_object.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert as_combination("law_object:law", 2).name == "second"
    for given in (Second, "law_object:Second"):
        message = one_line(lambda given=given: as_combination(given, 2))  # type: ignore[misc]
        assert message == "combination Second is a class; give an object of it: Second(...)"
    sys.modules.pop("law_object", None)


def test_drawn_draws_by_its_weights():
    """The odds are the weights at every position, in float64."""
    combination = drawn([1, 2])
    assert combination.drawn_by == ()
    odds = combination.odds(Positions.of(members(2), Warp()))
    assert (odds.shape, odds.dtype, odds[7].tolist()) == ((8, 2), torch.float64, [1 / 3, 2 / 3])
    assert weighted([1, 2]).drawn_by is None


def test_traits():
    """What is known early, by whom, and which combination has the same law with fewer members."""
    warm, cold = Warp(0.7), Warp(0)
    assert weighted([1, 3]).traits(warm).equivalent == drawn([1, 3])
    for combination, warp in (
        (weighted([1, 3]), cold),
        (weighted([1, 3], "combine-first"), warm),
        (drawn([1, 3]), warm),
        (product([1, 3]), warm),
    ):
        assert combination.traits(warp).equivalent is None
    early = {each: each.traits(warm).certainty is not None for each in OF_LAWS.values()}
    assert [each.name.partition(":")[0] for each, known in early.items() if known] == [
        "cosd",
        "cascade",
        "nudge",
        "gate",
    ]
    assert all(each.traits(warm).opener == (0 if known else None) for each, known in early.items())
    for mixture in (weighted([0.7, 0.3]), drawn([0.7, 0.3])):
        assert mixture.traits(cold).certainty is mixture
    assert weighted([0.7, 0.3], "combine-first").traits(cold).certainty is None
    assert weighted([0.5, 0.5]).traits(cold).certainty is None
    assert product([1, 1]).traits(warm).widened
    assert not custom(lambda logits, warp: warp(logits[0])).traits(warm).widened


def test_a_text_in_the_place_of_a_set_of_words_is_named():
    """`reads = "features"` would be a set of letters."""

    class Letters(Combination):
        name = "letters"
        reads = "features"  # type: ignore[assignment]

    with pytest.raises(
        ConfigurationError, match="reads of combination letters must be a set of words, not: 'features'"
    ):
        as_combination(Letters(), 2)
