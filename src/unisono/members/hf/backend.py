"""The backend of names, folders and loaded models that transformers knows. It imports transformers when it loads."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unisono import zoo
from unisono.errors import ConfigurationError, MemberError
from unisono.members.hf.options import Options
from unisono.members.source import ZOO, Source, changed

if TYPE_CHECKING:
    from unisono.members.hf.member import HFMember

LOADING = ("dtype", "device", "device_map", "quantization", "revision", "trust_remote_code")


class Transformers:
    """See `backends.Backend`."""

    name = "transformers"
    options = Options

    def takes(self, source: Source) -> bool:
        torch = sys.modules.get("torch")  # imported by whoever has a loaded model
        return isinstance(source.model, str | Path) or (torch is not None and isinstance(source.model, torch.nn.Module))

    def check(self, source: Source) -> None:
        _folder(source)
        kind, fixed = _fixed(source)
        for key in changed(source.options):
            if key in fixed:
                raise ConfigurationError(f"{key} cannot be changed for a member that is {kind}; leave it out")
        if source.tokenizer is not None:
            _require_tokenizer(source.tokenizer)

    def load(self, source: Source) -> "tuple[HFMember, Any]":
        from unisono.members.hf.load import load

        return load(source, _folder(source))

    def twin(self, member: "HFMember", name: str) -> "HFMember":
        return member.twin(name)

    def share(self, member: "HFMember", name: str) -> "HFMember":
        return member.share(name)


def _folder(source: Source) -> str | None:
    """Where a bundled model lies; None for others."""
    if not isinstance(source.model, str):
        return None
    if source.model in zoo.names() and not Path(source.model).exists():
        raise MemberError(f"unknown member: {source.model!r}; did you mean '{ZOO}{source.model}'?")
    return str(zoo.path(source.model.removeprefix(ZOO))) if source.model.startswith(ZOO) else None


def _fixed(source: Source) -> tuple[str, tuple[str, ...]]:
    """What kind of model it is, and the options that have no use for it."""
    if not isinstance(source.model, str | Path):
        return "already loaded", LOADING
    return ("bundled", ("revision",)) if str(source.model).startswith(ZOO) else ("loaded by name", ())


def _require_tokenizer(value: object) -> None:
    from transformers import PreTrainedTokenizerBase

    if not isinstance(value, PreTrainedTokenizerBase):
        raise ConfigurationError(f"a member's tokenizer must be a tokenizer of transformers, not: {value!r}")
