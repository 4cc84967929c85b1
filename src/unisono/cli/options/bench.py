"""Options of `unisono bench` and `unisono bench predict`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from unisono.cli.options.load import COMBINE, CONFIG, MEMBERS, SourceOptions
from unisono.cli.signature import flag, given, option
from unisono.errors import RequestError

PROMPTS = "python or edits (bundled), a file of lines or JSON lines, gsm8k, humaneval, mmlu, cnn_dailymail or a hub id"
PEERS = "transformers:generate, transformers:assisted:G or transformers:ensemble:G"
SCHEDULE = "What to measure: SCHEDULE [VERIFICATION] [COMBINATION], as in 'cos:1,6 block'; repeat it. Default: auto."
SEED = "Seed of every run; auto then uses coupled verification. In bfloat16, rounding may still change a near-tie."
OUTPUT = "Write the result with its provenance to this JSON file."


@dataclass(frozen=True)
class CaseOptions:
    """The choices, prompts and settings to measure. The class `Case` has fields with the same names."""

    members: list[str] = option(*MEMBERS, default=[])
    combine: list[str] = option("A combination to measure; repeat it.", default=[])
    schedule: list[str] = option(SCHEDULE, default=[])
    verification: list[str] = option("token, block, coupled or auto; repeat it.", default=[])
    temperature: list[float] = option("0 is greedy; repeat it. Default: 1.", default=[], min=0)
    rows: list[int] = option("Prompts that run at the same time; repeat it. Default: 1.", default=[], min=1)
    prompts: list[str] = option(f"Prompts: {PROMPTS}; repeat it. Default: python.", "--text", default=[])
    peers: list[str] = option(f"{PEERS}; repeat it.", "--peer", default=[])
    tokens: int | None = option("Tokens per run. Default: 64.", "--max-tokens", min=1)
    count: int | None = option("The number of prompts. Default: 4.", "--prompts", min=1)
    repeats: int | None = option("Runs per prompt and choice. Default: 3.", min=1)
    seed: int | None = option(SEED)


@dataclass(frozen=True)
class BenchOptions:
    case: CaseOptions = field(default_factory=CaseOptions)
    preset: str | None = option("paper: the table; sweeps: the curves. Both take long.")
    grid: Path | None = option("A YAML file with the cells to measure.")
    config: Path | None = option(CONFIG)
    source: SourceOptions = field(default_factory=SourceOptions)
    profile: bool = flag("Show instead how the time of a round is spent.")
    output: Path | None = option(OUTPUT)
    markdown: Path | None = option("Write the result as Markdown.")
    plots: Path | None = option("Draw the result into this folder.")
    resume: bool = flag("Go on with the unfinished run in the output file.")


@dataclass(frozen=True)
class PredictOptions:
    members: list[str] = option(*MEMBERS, default=[])
    combine: str | None = option(COMBINE)
    schedule: list[str] = option(SCHEDULE, default=[])
    config: Path | None = option(CONFIG)
    temperature: float = option("0 is greedy.", default=1.0, min=0)
    prompts: str = option(f"Prompts: {PROMPTS}.", "--text", default="python")
    tokens: int = option("Tokens per prompt.", "--max-tokens", default=48, min=2)
    count: int = option("The number of prompts.", "--prompts", default=3, min=1)
    source: SourceOptions = field(default_factory=SourceOptions)
    output: Path | None = option(OUTPUT)


# Options whose name on the command line differs from the name of the field
NAMES = {"members": "member", "prompts": "text", "peers": "peer", "tokens": "max-tokens", "count": "prompts"}


def refuse(options: BenchOptions, what: str, useless: Iterable[str] | None = None) -> None:
    """Raise an error if the user set one of the fields that `useless` names.

    If `useless` is None, raise an error if the user set any field.

    Raises:
        RequestError: one of these fields is set. The message says that the field has no use with `what`.
    """
    asked = given(options)
    for name in asked if useless is None else useless:
        if name in asked:
            raise RequestError(f"--{NAMES.get(name, name)} has no use with {what}; leave it out")
