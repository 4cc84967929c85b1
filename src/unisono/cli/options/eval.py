"""Options of `unisono eval`."""

from dataclasses import dataclass, field
from pathlib import Path

from unisono.cli.options.load import MEMBERS, SourceOptions
from unisono.cli.signature import argument, flag, option


@dataclass(frozen=True)
class EvalOptions:
    task: str | None = argument("skills, bits-per-byte, exact-match, humaneval, or a task of lm-evaluation-harness.")
    preset: str | None = option("skills: the bundled specialists and a choice of methods, in float32.")
    members: list[str] = option(*MEMBERS, default=[])
    combine: list[str] | None = option("A combination to measure; repeat it.")
    tune: list[str] | None = option("Tune this combination on a development split, test it on the rest; repeat it.")
    text: list[Path] | None = option(
        "A file: texts (bits-per-byte) or JSON lines with `text`, `prompt` and `answer`, ..."
    )
    schedule: str = option("For the combinations; members alone decode as they are.", default="auto")
    limit: int = option("The largest number of items.", default=600, min=1)
    seed: int = option("Seed of the items of the task skills.", default=0)
    include_path: Path | None = option("A folder with YAML tasks of your own, for the harness.")
    allow_code: bool = flag("Run generated code (humaneval), in a process with limits.")
    output: Path | None = option("Write the results as JSON.", "--output", "-o")
    plot: Path | None = option("Draw quality against cost.")
    source: SourceOptions = field(default_factory=SourceOptions)
