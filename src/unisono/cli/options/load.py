"""Options of every command that loads members."""

from dataclasses import dataclass, field
from pathlib import Path

from unisono.cli.signature import flag, option

MEMBERS = ("A member: local folder, hub id or zoo:NAME; repeat it. Default: two bundled models.", "--member", "-m")
COMBINE = "What the output follows: weighted:0.7,0.3, cosd, ... (docs/methods) or module:function."
CONFIG = "YAML file with these options; the command line overrides it."


@dataclass(frozen=True)
class SourceOptions:
    """Options that say how every member is loaded. The mapping of a member in a config has keys with the same names."""

    dtype: str | None = option("auto, float32, float16 or bfloat16.")
    device: str | None = option("Where the members run, as cpu or cuda:0.")
    context_length: int | None = option(
        "The largest number of tokens of prompt and text; default: the limit of the models."
    )
    attn_implementation: str | None = option("sdpa or eager.")
    cache_dir: str | None = option("Folder for files from the hub (a token comes from HF_TOKEN).")
    local_files_only: bool | None = flag("Do not access the hub; use files that were downloaded before.", default=None)
    compile: str | None = option("Compiled forwards: on, off, or auto (those of earlier runs).")
    deterministic: bool | None = flag(
        "A seed repeats its text in half precision too: no shared forwards, and auto uses sizes instead of times.",
        default=None,
    )


@dataclass(frozen=True)
class MethodOptions:
    """Options that say how the members decode. The class `Config` has fields with the same names."""

    combine: str | None = option(COMBINE)
    schedule: str | None = option(
        "standard, parallel, speculative:G, cos:G1,G2,..., relay:G, risky:K, lookup:N or auto."
    )
    verification: str | None = option("How proposals are decided: token, block, coupled or auto.")
    draft: str | None = option("A small model that only proposes: it changes the speed, not the text.")
    generation_config: str | None = option(
        "off: ignore the sampling values in the members' generation configs; default auto."
    )
    threads: int | None = option("Threads of an operation; default: one per core that this process may use.", min=1)


@dataclass(frozen=True)
class LoadOptions:
    """Options that say which members are loaded, how they are loaded, and how they decode.

    An option overrides the config file.
    """

    members: list[str] = option(*MEMBERS, default=[])
    method: MethodOptions = field(default_factory=MethodOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    config: Path | None = option(CONFIG)
