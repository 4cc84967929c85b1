"""Fit CoSD's decision tree, which predicts whether the draft or the assistant is right (arXiv 2502.08020).

The draft and the assistant read known answers. At each token of an answer, x is the most probable token of the draft
and y is the most probable token of the assistant. An example is a position where exactly one of x and y is the right
token. Its features are (p_draft(x), p_assistant(y)). Its label is 1 if y is right. The paper does not give the depth
and the leaf size of the tree. docs/log.md explains the values in this package.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.combine.tree import FEATURES, Leaf, Tree
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError, RequestError
from unisono.evals.likelihood import forced
from unisono.evals.tree_size import DEPTH, LEAF
from unisono.sampling.warp import Warp


def examples(ensemble: Ensemble, texts: Sequence[Mapping[str, str]]) -> tuple[Tensor, Tensor]:
    """Return features [N, 2] and labels [N] of the N positions where exactly one member is right.

    Args:
        ensemble: an ensemble of the draft and one assistant.
        texts: mappings with the keys `prompt` and `answer`.

    Raises:
        ConfigurationError: the ensemble does not have two members.
    """
    count = len(ensemble.lineup.combined)
    if count != 2:
        raise ConfigurationError(f"a tree is fitted for 2 members, draft and assistant, not: {count}")
    found = [_positions(ensemble, text["prompt"], text["answer"]) for text in texts]
    return torch.cat([features for features, _ in found]), torch.cat([labels for _, labels in found])


def _positions(ensemble: Ensemble, prompt: str, answer: str) -> tuple[Tensor, Tensor]:
    tokens, logits = forced(ensemble, prompt, answer)
    truth = torch.tensor(tokens)
    tops = [Warp()(member.float()).max(-1) for member in logits]
    right = [top.indices.cpu() == truth for top in tops]
    only_one = right[0] != right[1]
    features = torch.stack([top.values.cpu() for top in tops], -1)
    return features[only_one], right[1][only_one]


def fit(features: Tensor, labels: Tensor, depth: int = DEPTH, leaf: int = LEAF) -> Tree:
    """Return a decision tree that scikit-learn fits to these examples with the Gini criterion.

    Raises:
        ConfigurationError: scikit-learn is not installed.
        RequestError: all labels are equal, or the tree would have a single leaf.
    """
    try:
        from sklearn.tree import DecisionTreeClassifier
    except ImportError:
        raise ConfigurationError("fit-tree needs scikit-learn; install it with: pip install 'unisono[fit]'") from None
    if len(set(labels.tolist())) < 2:
        raise RequestError(
            f"the texts do not tell the members apart: {len(labels)} positions where one is right; add texts"
        )
    model = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, random_state=0)
    model.fit(features.numpy(), labels.numpy())
    tree = _converted(model.tree_, 0)
    if isinstance(tree, Leaf):
        raise RequestError(f"{len(labels)} positions give no rule with leaves of {leaf}; add texts or lower --leaf")
    return tree


def _converted(nodes: Any, index: int) -> Tree | Leaf:
    """Return a node of scikit-learn's tree as a `Tree` or a `Leaf`.

    A comparison becomes a leaf if both of its sides are the same leaf.
    """
    if nodes.children_left[index] < 0:
        keep, replace = nodes.value[index][0]
        return Leaf(bool(replace > keep))
    low, high = (_converted(nodes, side[index]) for side in (nodes.children_left, nodes.children_right))
    same = isinstance(low, Leaf) and low == high
    return low if same else Tree(FEATURES[nodes.feature[index]], float(nodes.threshold[index]), low, high)
