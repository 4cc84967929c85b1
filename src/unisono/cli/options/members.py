"""Options of `unisono members`."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from unisono.cli.options.load import Members, SourceOptions


@dataclass(frozen=True)
class MembersOptions:
    """What `unisono members` takes."""

    names: Annotated[list[str], typer.Argument(help="Members, as after --member.")] = field(default_factory=list)
    members: Members = field(default_factory=list)
    source: SourceOptions = field(default_factory=SourceOptions)
