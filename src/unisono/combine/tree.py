"""A decision tree over the probabilities of a draft's and an assistant's token, evaluated on tensors."""

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
LARGEST = 1e9  # of a threshold; nan is not below it, and an integer of any length can be compared


@dataclass(frozen=True)
class Leaf:
    """The end of a path: whether the token is replaced."""

    replace: bool


@dataclass(frozen=True)
class Tree:
    """An inner node: `feature <= threshold` goes to `low`, anything else to `high`."""

    feature: str
    threshold: float
    low: "Tree | Leaf"
    high: "Tree | Leaf"

    def __call__(self, draft: Tensor, assistant: Tensor | None) -> Tensor:
        """Whether tokens are replaced: bool, broadcast of both tensors; without the assistant, whether they may be."""
        low, high = (_decide(node, draft, assistant) for node in (self.low, self.high))
        value = draft if self.feature == "p_draft" else assistant
        if value is None:
            return low | high
        # Thresholds are doubles, as in scikit-learn, which compares its float32 features with them
        return torch.where(value.double() <= self.threshold, low, high)

    def features(self) -> set[str]:
        """Those that some path looks at."""
        below = [node.features() for node in (self.low, self.high) if isinstance(node, Tree)]
        return {self.feature}.union(*below)


def _decide(node: Tree | Leaf, draft: Tensor, assistant: Tensor | None) -> Tensor:
    if isinstance(node, Leaf):
        return torch.full_like(draft, node.replace, dtype=torch.bool)
    return node(draft, assistant)


def rules(node: Tree | Leaf, depth: int = 0) -> Iterator[str]:
    """The tree as if-then lines."""
    indent = "    " * depth
    if isinstance(node, Leaf):
        yield f"{indent}{'replace by the assistant' if node.replace else 'keep the draft'}"
        return
    yield f"{indent}if {node.feature} <= {node.threshold:.4f}:"
    yield from rules(node.low, depth + 1)
    yield f"{indent}else:"
    yield from rules(node.high, depth + 1)


def write_tree(tree: Tree, file: str | Path, **notes: Any) -> None:
    """Save a tree as JSON, with anything that says where it comes from."""
    Path(file).write_text(json.dumps({"format": FORMAT, "tree": asdict(tree), **notes}, indent=1) + "\n")


def read_tree(file: str | Path) -> Tree:
    """The tree in a JSON file; ConfigurationError if the file cannot be read, or is not what `write_tree` writes."""
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
