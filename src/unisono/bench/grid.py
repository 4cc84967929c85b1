"""A grid lists collaborations to measure, with their prompts and schedules. Grids and presets are YAML files.

tokens: 64
repeats: 2
cells:
  - members: [zoo:code-m@90M, zoo:code-s]
    combine: ["weighted:0.5,0.5", "contrastive:0.1"]
    temperature: [0, 1]
    schedule: [auto, "cos:1,6 block"]

The options `combine`, `temperature`, `verification`, `rows` and `prompts` may be lists. Each combination of their
values is one case. The runs of all choices of one case alternate with runs of `standard`.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unisono.bench.choice import BASELINE, Choice
from unisono.config import read_mapping
from unisono.errors import ConfigurationError, require_count, require_known

DIMENSIONS = ("combine", "temperature", "verification", "rows", "prompts")
LISTS = ("members", "schedule", "fixed", "peers")


@dataclass(frozen=True)
class Case:
    """One collaboration, measured with one kind of prompts and one number of rows.

    schedule: the choices to compare with `standard`.
    fixed: more choices. A separate stage finds the fastest of these choices, and only the fastest one is compared.
    peers: decoding methods of other libraries to compare with.
    rows: the number of prompts that run at the same time.
    count: the number of prompts.
    bars: a mapping from a choice to the goal for the choice's speed-up.
    beside: published speed-ups from other reports, for comparison.
    plot: the name of the curve that the case belongs to.
    quality: whether bits per byte are measured too.
    timeline: the choice for which the timeline of one run is recorded.
    """

    members: tuple[str, ...]
    combine: str | None = None
    temperature: float = 1.0
    schedule: tuple[str, ...] = ("auto",)
    verification: str = "auto"
    prompts: str = "python"
    rows: int = 1
    name: str = ""
    fixed: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    tokens: int = 64
    count: int = 4
    repeats: int = 3
    seed: int | None = None
    compile: str | None = None
    bars: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    plot: str | None = None
    quality: bool = False
    timeline: str | None = None

    def __post_init__(self) -> None:
        for key in ("rows", "tokens", "count", "repeats"):
            require_count(f"{key} of a case", getattr(self, key), 1)
        if not isinstance(self.temperature, int | float) or isinstance(self.temperature, bool) or self.temperature < 0:
            raise ConfigurationError(f"temperature of a case must be a number, 0 or more, not: {self.temperature!r}")
        if not self.members:
            raise ConfigurationError("a case needs members, as in members: [zoo:code-m, zoo:code-s]")
        if not self.name:
            object.__setattr__(self, "name", self._described())

    def _described(self) -> str:
        members = " + ".join(name.removeprefix("zoo:") for name in self.members)
        parts = [self.combine or "weighted", members, f"T={self.temperature:g}"]
        parts += [f"{self.rows} rows"] if self.rows > 1 else []
        parts += [self.prompts] if self.prompts != "python" else []
        parts += [self.verification] if self.verification != "auto" else []
        return ", ".join(parts)

    def choices(self) -> tuple[list[Choice], list[Choice]]:
        """Return the choices to compare, with the baseline first, and the fixed choices."""
        asked = [BASELINE, *self.schedule, *self.peers]
        return [Choice.parse(each) for each in dict.fromkeys(asked)], [Choice.parse(each) for each in self.fixed]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


PRESETS = Path(__file__).parent / "presets"


def presets() -> list[str]:
    """Return the names of the grids that the package contains."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset(name: str) -> list[Case]:
    """Return the cases of a grid that the package contains. Raise ConfigurationError if no preset has this name."""
    require_known("preset", [name], presets())
    return read(PRESETS / f"{name}.yaml")


def read(path: Path) -> list[Case]:
    """Return the cases of a grid in a YAML file.

    Raises:
        ConfigurationError: the file cannot be read, has an unknown key or a wrong value, or has two cases of the same
            name.
    """
    return cases(read_mapping(path), str(path))


def cases(content: Any, where: str = "grid") -> list[Case]:
    """Return the cases of a grid in a mapping. All keys except `cells` are default values for all cells.

    Raises:
        ConfigurationError: the mapping has an unknown key or a wrong value, or has two cases of the same name.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("cells"), list) or not content["cells"]:
        raise ConfigurationError(f"{where}: a grid needs a list of cells, as in cells: [{{members: [...]}}]")
    common = {key: value for key, value in content.items() if key != "cells"}
    found = [case for cell in content["cells"] for case in _expanded(common, cell, where)]
    names = [case.name for case in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigurationError(f"{where}: two cases are called {twice!r}; give them names")
    return found


def _expanded(common: Mapping[str, Any], cell: Any, where: str) -> Iterator[Case]:
    if not isinstance(cell, Mapping):
        raise ConfigurationError(f"{where}: a cell must be a mapping of options, not: {cell!r}")
    options = {"members": (), **common, **cell}
    require_known(f"key in {where}", options, [each.name for each in fields(Case)])
    for key in LISTS:
        value = options.get(key, ())
        if not isinstance(value, str | list | tuple):
            raise ConfigurationError(f"{where}: {key} must be a list, not: {value!r}")
        if key in options:
            options[key] = (value,) if isinstance(value, str) else tuple(value)
    dimensions = {key: options[key] for key in DIMENSIONS if isinstance(options.get(key), list)}
    several, name = any(len(values) > 1 for values in dimensions.values()), options.get("name")
    for values in itertools.product(*dimensions.values()):
        chosen = dict(zip(dimensions, values, strict=True))
        if several and name:
            chosen["name"] = ", ".join([name, *(f"{key} {value}" for key, value in chosen.items())])
        yield Case(**{**options, **chosen})
