"""Options of `unisono members`."""

from dataclasses import dataclass, field

from unisono.cli.options.load import MEMBERS, SourceOptions
from unisono.cli.signature import argument, option


@dataclass(frozen=True)
class MembersOptions:
    names: list[str] = argument("Members, as after --member.", [])
    members: list[str] = option(*MEMBERS, default=[])
    source: SourceOptions = field(default_factory=SourceOptions)
