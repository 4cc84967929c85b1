"""Fitting CoSD's tree: the examples are those of the paper, and the saved tree decides as scikit-learn's does."""

import builtins
from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.hf import models
from unisono import Ensemble
from unisono.combine import cosd_tree
from unisono.combine.tree import Leaf, Tree, read_tree, rules, write_tree
from unisono.errors import ConfigurationError, RequestError
from unisono.evals.fit import examples, fit
from unisono.text.prompts import Pair

sklearn_tree = pytest.importorskip("sklearn.tree")
TEXTS = [
    {"prompt": "def f(x):", "answer": " return x + 1\nfor i in range(10):\n    print(i)"},
    {"prompt": "import", "answer": " os, sys\nclass Stack:\n    items = []"},
]


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


def made(count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples that need both features, with noise."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(count, 2, generator=generator)
    noise = torch.rand(count, generator=generator) < 0.1
    return features, ((features[:, 0] < 0.5) & (features[:, 1] > 0.4)) ^ noise


def test_examples_are_positions_where_exactly_one_is_right(ensemble: Ensemble):
    """Against plain forwards; the tiny models are made to be right by taking what they say themselves."""
    texts = []
    for member in (0, 1):
        tokens = tiny.transformers_greedy(models(ensemble)[member], ensemble.tokenizer.encode("for i in"), 12)
        texts.append({"prompt": "for i in", "answer": ensemble.tokenizer.decode(tokens)})
    wanted = []
    for text in texts:
        prepared = ensemble.prompts.prepare(Pair(text["prompt"], text["answer"]))
        context, target = prepared.contexts[0].tokens, prepared.units
        laws = [
            tiny.fresh_logits(model, [*context, *target])[len(context) - 1 : -1].softmax(-1)
            for model in models(ensemble)
        ]
        for k, truth in enumerate(target):
            right = [int(law[k].argmax()) == truth for law in laws]
            if right[0] != right[1]:
                wanted.append((float(laws[0][k].max()), float(laws[1][k].max()), right[1]))
    features, labels = examples(ensemble, texts)
    assert len(wanted) > 5
    assert labels.tolist() == [label for *_, label in wanted]
    assert 0 < int(labels.sum()) < len(labels)
    torch.testing.assert_close(features, torch.tensor([pair for *pair, _ in wanted]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_saved_tree_predicts_as_scikit_learn(tmp_path: Path, depth: int):
    """On fresh features, and exactly at the thresholds, where scikit-learn compares float32 with float64."""
    features, labels = made()
    model = sklearn_tree.DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, random_state=0)
    model.fit(features.numpy(), labels.numpy())
    write_tree(fit(features, labels, depth, 5), tmp_path / "tree.json", texts=2)
    tree = read_tree(tmp_path / "tree.json")
    fresh = torch.rand(5000, 2, generator=torch.Generator().manual_seed(1))
    edges = torch.tensor([[t, u] for t in model.tree_.threshold for u in model.tree_.threshold if t >= 0 <= u])
    for points in (fresh, edges.float()):
        found = tree(points[:, 0], points[:, 1])
        assert found.tolist() == model.predict(points.numpy()).astype(bool).tolist()
    assert tree.features() == ({"p_draft", "p_assistant"} if depth > 1 else tree.features())
    assert cosd_tree(str(tmp_path / "tree.json")).tree == tree


def test_comparisons_that_change_nothing_are_no_rules():
    """scikit-learn also splits into a purer and a less pure leaf of one decision; such a node would count as a feature."""

    def nodes(node: Tree | Leaf) -> list[Tree]:
        return [node, *nodes(node.low), *nodes(node.high)] if isinstance(node, Tree) else []

    pruned = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        features = torch.rand(30, 2, generator=generator)
        labels = (features[:, 1] > 0.7) & (torch.rand(30, generator=generator) < 0.8)
        tree = fit(features, labels)
        model = sklearn_tree.DecisionTreeClassifier(max_depth=3, min_samples_leaf=2, random_state=0)
        model.fit(features.numpy(), labels.numpy())
        pruned += sum(model.tree_.children_left >= 0) - len(nodes(tree))
        assert not any(isinstance(node.low, Leaf) and node.low == node.high for node in nodes(tree))
        points = torch.rand(500, 2, generator=generator)
        assert tree(points[:, 0], points[:, 1]).tolist() == model.predict(points.numpy()).astype(bool).tolist()
    assert pruned > 2


def test_a_few_positions_of_the_assistant_are_enough():
    """Ten short texts may have four of them; leaves of five could not hold them alone."""
    draft = torch.linspace(0.1, 0.99, 22)
    labels = torch.zeros(22, dtype=torch.bool)
    labels[[1, 6, 7, 10]] = True
    assistant = torch.where(labels, torch.tensor(0.99), torch.linspace(0.1, 0.8, 22))
    tree = fit(torch.stack([draft, assistant], -1), labels)
    assert tree(draft, assistant).tolist() == labels.tolist()
    assert tree.features() == {"p_assistant"}


def test_a_tree_without_the_assistant_says_what_may_be_replaced():
    """Used to be lazy: true wherever some value of the assistant would replace."""
    tree = fit(*made(), leaf=20)
    draft = torch.linspace(0, 1, 101)
    possible = torch.stack([tree(draft, torch.full_like(draft, value / 200)) for value in range(201)]).any(0)
    assert torch.equal(tree(draft, None), possible)
    assert 0 < int(possible.sum()) < 101


def test_rules_read_like_the_tree():
    tree = Tree("p_draft", 0.5, Tree("p_assistant", 0.25, Leaf(False), Leaf(True)), Leaf(False))
    assert list(rules(tree)) == [
        "if p_draft <= 0.5000:",
        "    if p_assistant <= 0.2500:",
        "        keep the draft",
        "    else:",
        "        replace by the assistant",
        "else:",
        "    keep the draft",
    ]


def test_texts_that_tell_nothing_are_refused(ensemble: Ensemble):
    with pytest.raises(RequestError, match="do not tell the members apart: 3 positions"):
        fit(torch.rand(3, 2), torch.tensor([True, True, True]))
    with pytest.raises(RequestError, match="4 positions give no rule with leaves of 5"):
        fit(torch.rand(4, 2), torch.tensor([True, False, True, False]), leaf=5)
    with pytest.raises(ConfigurationError, match="fitted for 2 members"):
        examples(tiny.text_ensemble(count=3), TEXTS)


def test_without_scikit_learn_one_line_says_so(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"install it with: pip install 'unisono\[fit\]'"):
        fit(*made())
