"""Options of `unisono bench` and `unisono bench predict`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from unisono.cli.options.load import Combine, ConfigFile, Members, SourceOptions
from unisono.cli.signature import given
from unisono.errors import RequestError

SOURCES = "python or edits (bundled), a file of lines or JSON lines, gsm8k, humaneval, mmlu, cnn_dailymail or a hub id"
Schedules = Annotated[
    list[str],
    typer.Option(
        "--schedule",
        help="What to measure: SCHEDULE [VERIFICATION] [COMBINATION], as in 'cos:1,6 block'; repeat it. Default: auto.",
    ),
]
Output = Annotated[Path | None, typer.Option(help="Write the result with its provenance to this JSON file.")]


@dataclass(frozen=True)
class CaseOptions:
    """What is measured; the fields are those of `Case`."""

    members: Members = field(default_factory=list)
    combine: Annotated[list[str], typer.Option(help="A combination to measure; repeat it.")] = field(
        default_factory=list
    )
    schedule: Schedules = field(default_factory=list)
    verification: Annotated[list[str], typer.Option(help="token, block, coupled or auto; repeat it.")] = field(
        default_factory=list
    )
    temperature: Annotated[list[float], typer.Option(min=0, help="0 is greedy; repeat it. Default: 1.")] = field(
        default_factory=list
    )
    rows: Annotated[
        list[int], typer.Option(min=1, help="Prompts that run at the same time; repeat it. Default: 1.")
    ] = field(default_factory=list)
    prompts: Annotated[list[str], typer.Option("--text", help=f"Prompts: {SOURCES}; repeat it. Default: python.")] = (
        field(default_factory=list)
    )
    peers: Annotated[
        list[str],
        typer.Option(
            "--peer", help="transformers:generate, transformers:assisted:G or transformers:ensemble:G; repeat it."
        ),
    ] = field(default_factory=list)
    tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Tokens per run. Default: 64.")] = None
    count: Annotated[int | None, typer.Option("--prompts", min=1, help="How many of the prompts. Default: 4.")] = None
    repeats: Annotated[int | None, typer.Option(min=1, help="Runs per prompt and choice. Default: 3.")] = None
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of every run; auto takes coupled verification then. In bfloat16 rounding may still tip a near-tie."
        ),
    ] = None


@dataclass(frozen=True)
class BenchOptions:
    """What `unisono bench` takes."""

    case: CaseOptions = field(default_factory=CaseOptions)
    preset: Annotated[str | None, typer.Option(help="paper: the table; sweeps: the curves. Both take long.")] = None
    grid: Annotated[Path | None, typer.Option(help="A YAML file with the cells to measure.")] = None
    config: ConfigFile = None
    source: SourceOptions = field(default_factory=SourceOptions)
    profile: Annotated[bool, typer.Option("--profile", help="Show where a round's time goes instead.")] = False
    output: Output = None
    markdown: Annotated[Path | None, typer.Option(help="Write the result as Markdown.")] = None
    plots: Annotated[Path | None, typer.Option(help="Draw the result into this folder.")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run in the output file.")] = False


@dataclass(frozen=True)
class PredictOptions:
    """What `unisono bench predict` takes."""

    members: Members = field(default_factory=list)
    combine: Combine = None
    schedule: Schedules = field(default_factory=list)
    config: ConfigFile = None
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 1.0
    prompts: Annotated[str, typer.Option("--text", help=f"Prompts: {SOURCES}.")] = "python"
    tokens: Annotated[int, typer.Option("--max-tokens", min=2, help="Tokens per prompt.")] = 48
    count: Annotated[int, typer.Option("--prompts", min=1, help="How many of the prompts.")] = 3
    source: SourceOptions = field(default_factory=SourceOptions)
    output: Output = None


# Options that are not called as the fields they fill
NAMES = {"members": "member", "prompts": "text", "peers": "peer", "tokens": "max-tokens", "count": "prompts"}


def refuse(options: BenchOptions, what: str, useless: Iterable[str] | None = None) -> None:
    """Raise RequestError where one of the named fields, or any at all, was given beside what has no use for it."""
    asked = given(options)
    for name in asked if useless is None else useless:
        if name in asked:
            raise RequestError(f"--{NAMES.get(name, name)} has no use with {what}; leave it out")
