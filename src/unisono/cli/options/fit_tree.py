"""Options of `unisono fit-tree`."""

from dataclasses import dataclass, field
from pathlib import Path

from unisono.cli.options.load import MEMBERS, SourceOptions
from unisono.cli.signature import argument, option
from unisono.evals.tree_size import DEPTH, LEAF


@dataclass(frozen=True)
class FitTreeOptions:
    texts: Path | None = argument('JSON lines, each {"prompt": "...", "answer": "..."}; a few are enough.')
    output: Path = option("The file for the tree, in JSON.", "--output", "-o", default=Path("tree.json"))
    members: list[str] = option(*MEMBERS, default=[])
    skills: int | None = option("Instead of a file: this many texts of the bundled skills' development split.")
    seed: int = option("Seed of the texts of --skills.", default=0)
    depth: int = option("The largest depth of the tree.", default=DEPTH, min=1, max=8)
    leaf: int = option("The fewest positions in a leaf.", default=LEAF, min=1)
    source: SourceOptions = field(default_factory=SourceOptions)
