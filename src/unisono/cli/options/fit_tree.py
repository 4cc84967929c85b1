"""Options of `unisono fit-tree`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from unisono.cli.options.load import Members, SourceOptions
from unisono.evals.tree_size import DEPTH, LEAF


@dataclass(frozen=True)
class FitTreeOptions:
    """What `unisono fit-tree` takes."""

    texts: Annotated[
        Path | None, typer.Argument(help='JSON lines, each {"prompt": "...", "answer": "..."}; a few are enough.')
    ] = None
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the tree goes, as JSON.")] = Path("tree.json")
    members: Members = field(default_factory=list)
    skills: Annotated[
        int | None, typer.Option(help="Instead of a file: so many texts of the bundled skills' development split.")
    ] = None
    seed: Annotated[int, typer.Option(help="Of --skills.")] = 0
    depth: Annotated[int, typer.Option(min=1, max=8, help="The tree's largest depth.")] = DEPTH
    leaf: Annotated[int, typer.Option(min=1, help="The fewest positions in a leaf.")] = LEAF
    source: SourceOptions = field(default_factory=SourceOptions)
