"""`unisono members`: what is bundled, and whether given members can be combined."""

import sys

import typer
from rich.console import Console
from rich.table import Table

from unisono import zoo
from unisono.cli.options import Device, Dtype, Members, load_ensemble
from unisono.config import Config
from unisono.ensemble import Ensemble
from unisono.errors import VocabularyError


def members(member: Members = [], dtype: Dtype = None, device: Device = None) -> None:  # noqa: B006
    """List the bundled models, or say whether the given members can be combined, and why not."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    if not member:
        member = [f"zoo:{name}" for name in zoo.names()]
        console.print("Bundled models (use them as --member NAME):")
    try:
        ensemble = load_ensemble(Config(), member, None, None, None, dtype=dtype, device=device)
    except VocabularyError as error:
        console.print(f"These members cannot be combined: {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(_table(ensemble, member))
    if len(member) > 1:
        vocabulary = ensemble.prompts.vocabulary
        console.print(f"They can be combined: a common vocabulary of {vocabulary.size} tokens.")


def _table(ensemble: Ensemble, asked: list[str]) -> Table:
    table = Table("member", "parameters", "context", "dtype", "device", "architecture", box=None, pad_edge=False)
    for name, member in zip(asked, ensemble.members, strict=True):
        model = member.model
        dtype = str(model.dtype).removeprefix("torch.")
        size = f"{member.parameters / 1e6:,.1f}M"
        table.add_row(name, size, str(member.context or "-"), dtype, str(model.device), type(model).__name__)
    return table
