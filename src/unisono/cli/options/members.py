"""Options of `unisono members`."""

from dataclasses import dataclass, field

from unisono.cli.options.load import Members, SourceOptions


@dataclass(frozen=True)
class MembersOptions:
    """What `unisono members` takes."""

    members: Members = field(default_factory=list)
    source: SourceOptions = field(default_factory=SourceOptions)
