"""A decision tree that decides whether an assistant's token replaces a token of the draft model.

The inputs of the tree are the draft model's probability of the token and the assistant's largest probability.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisono.errors import ConfigurationError

FORMAT = "unisono-cosd-tree-1"
FEATURES = ("p_draft", "p_assistant")
LARGEST = 1e9  # thresholds must be smaller; this refuses nan, and integers that are too long for a float


@dataclass(frozen=True)
class Leaf:
    """The end of a path in a tree. `replace`: whether the draft model's token is replaced."""

    replace: bool


@dataclass(frozen=True)
class Tree:
    """An inner node of a tree. If `feature <= threshold`, the path goes to the node `low`, otherwise to `high`."""

    feature: str
    threshold: float
    low: "Tree | Leaf"
    high: "Tree | Leaf"

    def __call__(self, draft: Tensor, assistant: Tensor | None) -> Tensor:
        """Return which tokens are replaced: bool [N, V]. If `assistant` is None, return which tokens could be replaced.

        Args:
            draft: [N, V], the draft model's probabilities. assistant: [N, 1], the assistant's largest probability.
        """
        low, high = (_decide(node, draft, assistant) for node in (self.low, self.high))
        value = draft if self.feature == "p_draft" else assistant
        if value is None:
            return low | high
        # As in scikit-learn, which compares float32 features with thresholds that are doubles
        return torch.where(value.double() <= self.threshold, low, high)

    def features(self) -> set[str]:
        """Return the names of the features that the nodes of the tree compare."""
        below = [node.features() for node in (self.low, self.high) if isinstance(node, Tree)]
        return {self.feature}.union(*below)


def _decide(node: Tree | Leaf, draft: Tensor, assistant: Tensor | None) -> Tensor:
    if isinstance(node, Leaf):
        return torch.full_like(draft, node.replace, dtype=torch.bool)
    return node(draft, assistant)


def rules(node: Tree | Leaf, depth: int = 0) -> Iterator[str]:
    """Yield the lines of a text that describes the tree with `if` and `else`."""
    indent = "    " * depth
    if isinstance(node, Leaf):
        yield f"{indent}{'replace by the assistant' if node.replace else 'keep the draft'}"
        return
    yield f"{indent}if {node.feature} <= {node.threshold:.4f}:"
    yield from rules(node.low, depth + 1)
    yield f"{indent}else:"
    yield from rules(node.high, depth + 1)


def write_tree(tree: Tree, file: str | Path, **notes: Any) -> None:
    """Save a tree in a JSON file. `notes` are further values for the file, for example how the tree was made."""
    Path(file).write_text(json.dumps({"format": FORMAT, "tree": asdict(tree), **notes}, indent=1) + "\n")


def read_tree(file: str | Path) -> Tree:
    """Read and return a tree from a file that `write_tree` has saved.

    Raises:
        ConfigurationError: the file cannot be read, or does not contain a tree.
    """
    try:
        content: Any = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"tree file cannot be read: {file} ({error.strerror}); make one with fit-tree"
        ) from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"tree file is not JSON: {file}; make one with `unisono fit-tree`") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigurationError(f"not a tree of unisono: {file} (format {FORMAT}); make one with `unisono fit-tree`")
    tree = _node(content.get("tree"), str(file))
    if isinstance(tree, Leaf):
        raise ConfigurationError(f"the tree in {file} decides nothing: it has no node")
    return tree


def _node(value: Any, file: str, depth: int = 0) -> Tree | Leaf:
    if isinstance(value, dict) and isinstance(value.get("replace"), bool):
        return Leaf(value["replace"])
    threshold = value.get("threshold") if isinstance(value, dict) else None
    known = isinstance(value, dict) and value.get("feature") in FEATURES and isinstance(threshold, int | float)
    if not known or not abs(threshold or 0) < LARGEST or depth > 32:
        raise ConfigurationError(
            f"the tree in {file} has a node that is neither a leaf nor a comparison: {value!r:.60}"
        )
    low, high = (_node(value.get(side), file, depth + 1) for side in ("low", "high"))
    return Tree(value["feature"], float(threshold or 0), low, high)
