"""`unisono members`: list the bundled models, or check whether the given members can be combined."""

import sys
from itertools import chain, groupby

import typer
from rich.console import Console
from rich.table import Table

from unisono import zoo
from unisono.cli.loading import load_ensemble
from unisono.cli.options.load import LoadOptions, SourceOptions
from unisono.cli.options.members import MembersOptions
from unisono.ensemble import Ensemble
from unisono.errors import VocabularyError


def run(options: MembersOptions) -> None:
    """Print a table of the given members. If no members are given, print a table for each family of bundled models."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    if members := [*options.names, *options.members]:
        _show(console, members, options.source)
        return
    console.print("Bundled models (use them as --member NAME); those of one family can be combined:")
    for _, names in groupby(zoo.names(), key=lambda name: name.partition("-")[0]):
        _show(console, [f"zoo:{name}" for name in names], options.source)


def _show(console: Console, members: list[str], source: SourceOptions) -> None:
    try:
        ensemble = load_ensemble(LoadOptions(members, source=source))
    except VocabularyError as error:
        console.print(f"These members cannot be combined: {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(_table(ensemble, members))
    if members[1:]:
        vocabulary = ensemble.prompts.vocabulary
        console.print(f"They can be combined: a common vocabulary of {vocabulary.size} tokens.")


def _table(ensemble: Ensemble, asked: list[str]) -> Table:
    """Return a table with one row per member.

    The table has a column for each fact that is known about at least one member.
    """
    facts = [member.facts for member in ensemble.members]
    headings = list(dict.fromkeys(chain.from_iterable(facts)))
    table = Table("member", "parameters", *headings, box=None, pad_edge=False)
    for name, member, known in zip(asked, ensemble.members, facts, strict=True):
        size = f"{member.parameters / 1e6:,.1f}M"
        table.add_row(name, size, *(known.get(heading, "-") for heading in headings))
    return table
