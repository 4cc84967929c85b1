"""Options of `unisono chat`."""

from dataclasses import dataclass, field

from unisono.cli.options.load import LoadOptions
from unisono.cli.options.sampling import TRACE, SamplingOptions
from unisono.cli.options.template import TemplateOptions
from unisono.cli.signature import flag, option


@dataclass(frozen=True)
class ChatOptions:
    load: LoadOptions = field(default_factory=LoadOptions)
    system: str | None = option("Instructions in front of the conversation.")
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    template: TemplateOptions = field(default_factory=TemplateOptions)
    trace: bool = flag(TRACE)
