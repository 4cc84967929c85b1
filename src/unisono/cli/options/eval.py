"""Options of `unisono eval`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from unisono.cli.options.load import Members, SourceOptions


@dataclass(frozen=True)
class EvalOptions:
    """What `unisono eval` takes."""

    task: Annotated[
        str | None,
        typer.Argument(help="skills, bits-per-byte, exact-match, humaneval, or a task of lm-evaluation-harness."),
    ] = None
    preset: Annotated[
        str | None, typer.Option(help="skills: the bundled specialists and a choice of methods, in float32.")
    ] = None
    members: Members = field(default_factory=list)
    combine: Annotated[list[str] | None, typer.Option(help="A combination to measure; repeat it.")] = None
    tune: Annotated[
        list[str] | None,
        typer.Option(help="Tune this combination on a development split, test it on the rest; repeat it."),
    ] = None
    text: Annotated[
        list[Path] | None,
        typer.Option(help="A file: texts (bits-per-byte) or JSON lines with `text`, `prompt` and `answer`, ..."),
    ] = None
    schedule: Annotated[str, typer.Option(help="For the combinations; members alone decode as they are.")] = "auto"
    limit: Annotated[int, typer.Option(min=1, help="The most items.")] = 600
    seed: Annotated[int, typer.Option(help="Of the skills' items.")] = 0
    include_path: Annotated[
        Path | None, typer.Option(help="A folder with YAML tasks of your own, for the harness.")
    ] = None
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run generated code (humaneval), in a process with limits.")
    ] = False
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the results as JSON.")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw quality against cost.")] = None
    source: SourceOptions = field(default_factory=SourceOptions)
