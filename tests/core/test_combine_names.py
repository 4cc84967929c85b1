"""What a user writes for a combination: every form is understood, every mistake is named."""

import sys
from pathlib import Path

import pytest
import torch

from tests.laws import law_of
from unisono.combine import (
    Combination,
    as_combination,
    cascade,
    contrastive,
    contrastive_masked,
    cosd,
    custom,
    gate,
    guidance,
    nudge,
    only,
    parse,
    product,
    proxy,
    realign,
    weighted,
)
from unisono.errors import ConfigurationError
from unisono.sampling.warp import Warp


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("weighted:0.7,0.3", weighted([0.7, 0.3])),
        ("weighted: 7, 3", weighted([0.7, 0.3])),
        ("weighted", weighted([1, 1])),
        ("weighted:order=combine-first", weighted([1, 1], order="combine-first")),
        ("weighted:0.7,0.3,order=combine-first", weighted([0.7, 0.3], order="combine-first")),
        ("weighted:0.7, 0.3, order = warp-first", weighted([0.7, 0.3])),
        ("product:1,0.5", product([1, 0.5])),
        ("product", product([0.5, 0.5])),
        ("contrastive", contrastive()),
        ("contrastive:0.2", contrastive(0.2)),
        ("contrastive:mu=0.2", contrastive(0.2)),
        ("contrastive_masked", contrastive_masked()),
        ("contrastive_masked:0.2,0.3", contrastive_masked(0.2, 0.3)),
        ("contrastive_masked:0.2,beta=0.3", contrastive_masked(0.2, 0.3)),
        ("contrastive_masked:beta=0.3,alpha=0.2", contrastive_masked(0.2, 0.3)),
        ("only:1", only(1)),
        ("realign:0.3", realign(0.3)),
        ("guidance:scale=2", guidance(2)),
        ("context_aware:1", guidance(2)),
        ("cosd", cosd(0.5, 0.5)),
        ("cosd:0.4,beta=1.5", cosd(0.4, 1.5)),
        ("cascade", cascade("chow", 0.3)),
        ("cascade:opt,0.2", cascade("opt", 0.2)),
        ("cascade:rule=tokenv3", cascade("tokenv3")),
        ("nudge", nudge(0.3)),
        ("gate", gate([1, 1])),
        ("gate:2,1,threshold=1.5,by=entropy", gate([2, 1], 1.5, "entropy")),
    ],
)
def test_every_form_is_understood(text: str, wanted: Combination):
    """A text gives the object that the same call in Python would."""
    assert parse(text, members=2) == wanted
    assert as_combination(text, 2) == wanted


def test_lists_without_values_are_uniform_over_the_members():
    """The default weights follow the number of members."""
    assert parse("weighted", members=3) == weighted([1, 1, 1]) == as_combination(None, 3)
    assert parse("product", members=4) == product([0.25] * 4)


@pytest.mark.parametrize(
    "combination",
    [
        weighted([0.75, 0.25]),
        weighted([0.75, 0.25], order="combine-first"),
        product([1, 0.125]),
        contrastive(0.2),
        contrastive_masked(0.2, 0.3),
        only(1),
        proxy(0.5),
        realign(1.25),
        guidance(1.75),
        cosd(0.25, 2),
        cascade("tokenv3", 0.125),
        nudge(0.25),
        gate([0.75, 0.25], 1.5, "entropy"),
    ],
    ids=lambda combination: combination.name,
)
def test_a_reported_name_can_be_given_again(combination: Combination):
    """The name in a result is what a user would write to get that combination."""
    assert parse(combination.name, members=2) == combination


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weigthed:0.5,0.5", r"unknown combination: 'weigthed'; did you mean 'weighted'\?"),
        ("weigted", r"unknown combination: 'weigted'; did you mean 'weighted'\?"),
        ("cosd:alpha=-1", "alpha must be 0 or more, not: -1"),
        ("cosd_tree", "combination cosd_tree needs file, as in cosd_tree:tree.json"),
        ("cosd_tree:no/such.json", "tree file cannot be read: no/such.json"),
        ("cascade:chov", r"unknown rule of cascade: 'chov'; did you mean 'chow'\?"),
        ("cascade:chow,2", r"alpha must be in \[0, 1\], not: 2"),
        ("nudge:1.5", r"threshold must be in \[0, 1\]"),
        ("gate:by=entropi", r"did you mean 'entropy'\?"),
        ("gate:1,1,threshold=-1,by=entropy", "threshold must be 0 or more"),
        ("guidance:nan", "scale must be a finite number"),
        ("contrastiv:0.1", r"did you mean 'contrastive'\?"),
        ("", "unknown combination"),
        ("something else", "available: cascade, .*contrastive, contrastive_masked, .*only, product, .*weighted"),
        ("contrastive:nu=0.1", r"unknown option of contrastive: 'nu'; did you mean 'mu'\?"),
        ("contrastive_masked:alhpa=0.1", r"unknown option of contrastive_masked: 'alhpa'; did you mean 'alpha'\?"),
        ("weighted:1,1,ordr=warp-first", r"unknown option of weighted: 'ordr'; did you mean 'order'\?"),
        ("weighted:1,1,order=combine_first", r"unknown order: 'combine_first'; did you mean 'combine-first'\?"),
        ("product:1,1,order=warp-first", "product.*order"),
        ("contrastive:0.1,0.2", "contrastive takes.*mu"),
        ("contrastive:0.1,mu=0.2", "contrastive.*mu"),
        ("contrastive_masked:0.1,0.2,0.3", "contrastive_masked takes.*alpha.*beta"),
        ("weighted:a,1", "number.*'a'"),
        ("weighted:1,,1", "weighted"),
        ("weighted:1,", "weighted"),
        ("weighted:0.7;0.3", "number"),
        ("contrastive:mu=", "number"),
        ("weighted:-1,2", "0 or more"),
        ("weighted:0,0", "not all 0"),
        ("weighted:nan,1", "finite"),
        ("product:inf,1", "finite"),
        ("contrastive:nan", "finite"),
        ("contrastive_masked:0", r"\(0, 1\]"),
        ("weighted:1,1,1", "3 weights for 2 members"),
        ("product:1", "1 weights for 2 members"),
        ("only:x", "index.*'x'"),
        ("only:1.0", "index.*'1.0'"),
        ("only:-1", "index.*-1"),
        ("only:2", "no member 2 among 2"),
        ("only", "only needs"),
        ("only:0,1", "only takes"),
        ("contrastive:mu=0.1,mu=0.2", "twice"),
        (".relative:law", "law"),
        ("only:0,first=1", "only.*first"),
        ("no_such_module:law", "unknown combination: 'no_such_module'"),
        ("torch:no_such_law", "torch:no_such_law: the module has no 'no_such_law'"),
        ("torch:__version__", "not a function"),
        (":law", "law"),
    ],
)
def test_every_mistake_is_named(text: str, message: str):
    """One line that names what is wrong, with the nearest name where there is one."""
    with pytest.raises(ConfigurationError, match=message) as error:
        as_combination(text, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [3, 0.5, [0.5, 0.5], ("weighted",), {"weighted": 1}])
def test_what_is_no_combination_is_refused(value: object):
    """A value that is neither a name, an object nor a function is an error, not a guess."""
    with pytest.raises(ConfigurationError, match="a combination is"):
        as_combination(value, 2)


def test_objects_are_checked_and_functions_wrapped():
    """An object is used as it is if it fits the members; a function becomes a combination."""
    assert as_combination(only(1), 2) == only(1)
    with pytest.raises(ConfigurationError, match="2 weights for 3 members"):
        as_combination(weighted([1, 1]), 3)

    def law(logits, warp):
        return warp(logits[1])

    assert as_combination(law, 2) == custom(law)


def test_a_function_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`module:function` imports it; a module that fails to import says what it lacks, not that its name is unknown."""
    (tmp_path / "own_law.py").write_text("def second(logits, warp):\n    return warp(logits[1])\n", encoding="utf-8")
    (tmp_path / "needy_law.py").write_text("import not_installed_anywhere\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    logits = [torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])]
    found = as_combination("own_law:second", 2)
    assert torch.allclose(law_of(found, logits, Warp()), Warp()(logits[1]))
    assert found.name == "second"
    with pytest.raises(ConfigurationError, match="not_installed_anywhere"):
        parse("needy_law:law")
    sys.modules.pop("own_law", None)
