"""`unisono fit-tree`: CoSD's decision tree from a few texts."""

from pathlib import Path
from typing import Annotated

import typer

from unisono.bench.provenance import provenance
from unisono.cli.options import Device, Dtype, Members, load_ensemble
from unisono.combine.tree import rules, write_tree
from unisono.config import Config
from unisono.errors import ConfigurationError, RequestError
from unisono.evals.fit import DEPTH, LEAF, examples, fit
from unisono.evals.skills import items
from unisono.evals.texts import read_records

SKILL_MEMBERS = ["zoo:skills-m", "zoo:skills-n"]


def fit_tree(
    texts: Annotated[
        Path | None, typer.Argument(help='JSON lines, each {"prompt": "...", "answer": "..."}; a few are enough.')
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the tree goes, as JSON.")] = Path("tree.json"),
    member: Members = [],  # noqa: B006 - typer reads the default, nobody changes it
    skills: Annotated[
        int | None, typer.Option(help="Instead of a file: so many texts of the bundled skills' development split.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --skills.")] = 0,
    depth: Annotated[int, typer.Option(min=1, max=8, help="The tree's largest depth.")] = DEPTH,
    leaf: Annotated[int, typer.Option(min=1, help="The fewest positions in a leaf.")] = LEAF,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Fit CoSD's tree: the draft is the first member, the assistant the second."""
    if (texts is None) == (skills is None):
        raise RequestError("give a file of texts or --skills N, one of the two")
    records = read_records(texts, ["prompt", "answer"]) if texts else _skill_texts(skills or 0, seed)
    ensemble = load_ensemble(Config(), member or SKILL_MEMBERS, None, None, None, dtype=dtype, device=device)
    features, labels = examples(ensemble, records)
    tree = fit(features, labels, depth, leaf)
    print(f"{len(labels)} positions where exactly one is right, {int(labels.sum())} of them the assistant")
    print("\n".join(rules(tree)))
    notes = {"members": ensemble.names, "texts": len(records), "positions": len(labels), "provenance": provenance()}
    try:
        write_tree(tree, output, **notes)
    except OSError as error:
        raise ConfigurationError(f"the tree cannot be written: {output} ({error.strerror})") from None
    print(f"written to {output}; use it as --combine cosd_tree:{output}")


def _skill_texts(count: int, seed: int) -> list[dict[str, str]]:
    """Of two skills each: the more positions a text has, the better the tree (docs/log.md)."""
    if count < 1:
        raise RequestError(f"--skills must be 1 or more, not: {count}")
    return [{"prompt": item.prompt, "answer": item.answer} for item in items(count, seed, "development", pairs=1.0)]
