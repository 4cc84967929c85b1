"""Options of every command that loads members."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

Members = Annotated[
    list[str],
    typer.Option(
        "--member", "-m", help="A member: local folder, hub id or zoo:NAME; repeat it. Default: two bundled models."
    ),
]
Combine = Annotated[
    str | None,
    typer.Option(help="What the output follows: weighted:0.7,0.3, cosd, ... (docs/methods) or module:function."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file with these options; the command line overrides it.")
]
ChatTemplate = Annotated[
    str | None, typer.Option(help="File with a Jinja template, or `plain`, for members without one.")
]


@dataclass(frozen=True)
class SourceOptions:
    """How every member is loaded; the fields are those of `Source`."""

    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None
    device: Annotated[str | None, typer.Option(help="Where the members run, as cpu or cuda:0.")] = None
    context_length: Annotated[
        int | None, typer.Option(help="The most tokens of prompt and text; what the models say by default.")
    ] = None
    attn_implementation: Annotated[str | None, typer.Option(help="sdpa or eager.")] = None
    cache_dir: Annotated[
        str | None, typer.Option(help="Folder for files from the hub (a token comes from HF_TOKEN).")
    ] = None
    local_files_only: Annotated[
        bool | None,
        typer.Option("--local-files-only", help="Ask the hub for nothing; take what was downloaded before."),
    ] = None
    compile: Annotated[
        str | None, typer.Option("--compile", help="Compiled forwards: on, off, or auto (those of earlier runs).")
    ] = None
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic",
            help="A seed repeats its text in half precision too: no shared forwards, and auto goes by sizes, not times.",
        ),
    ] = None


@dataclass(frozen=True)
class MethodOptions:
    """How the members decode; the fields are those of `Config`."""

    combine: Combine = None
    schedule: Annotated[
        str | None,
        typer.Option(help="standard, parallel, speculative:G, cos:G1,G2,..., relay:G, risky:K, lookup:N or auto."),
    ] = None
    verification: Annotated[
        str | None, typer.Option(help="How proposals are decided: token, block, coupled or auto.")
    ] = None
    draft: Annotated[
        str | None, typer.Option(help="A small model that only proposes: it changes the speed, not the text.")
    ] = None
    generation_config: Annotated[
        str | None,
        typer.Option(help="off: without the sampling values of the members' generation configs; default auto."),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of an operation; default: one per core that this process may use."),
    ] = None


@dataclass(frozen=True)
class LoadOptions:
    """Which members are loaded, how, and how they decode. An option goes before the config file."""

    members: Members = field(default_factory=list)
    method: MethodOptions = field(default_factory=MethodOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    config: ConfigFile = None
