"""The backend for transformers models: names, folders and loaded models. transformers is imported only when needed."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unisono import zoo
from unisono.errors import ConfigurationError, MemberError
from unisono.members.hf.options import WHERE, Options
from unisono.members.source import ZOO, Source, changed

if TYPE_CHECKING:
    from unisono.members.hf.member import HFMember

GGUF = re.compile(r"\.gguf$|:([A-Z-]*Q\d\w*|B?F16)$", re.IGNORECASE)  # a file name, or the name of a quantization
LOADED = "already loaded"
LOADING = ("device", "device_map", "quantization", "attn_implementation", "max_memory", "load_options", *WHERE)


class Transformers:
    """The backend for models of transformers. It implements the protocol `backends.Backend`."""

    name = "transformers"
    options = Options

    def takes(self, source: Source) -> bool:
        torch = sys.modules.get("torch")  # torch has been imported if the model is loaded
        return isinstance(source.model, str | Path) or (torch is not None and isinstance(source.model, torch.nn.Module))

    def check(self, source: Source) -> None:
        named = isinstance(source.model, str | Path) and _folder(source) is None
        if named and source.options.subfolder is None:
            _require_format(str(source.model))
        kind, fixed = _fixed(source)
        for key in changed(source.options):
            if key in fixed:
                raise ConfigurationError(f"{key} cannot be changed for a member that is {kind}; leave it out")
        if kind == LOADED:
            _require_dtype(source)
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
    """Return the folder of a bundled model; None for other models."""
    if not isinstance(source.model, str):
        return None
    if source.model in zoo.names() and not Path(source.model).exists():
        raise MemberError(f"unknown member: {source.model!r}; did you mean '{ZOO}{source.model}'?")
    return str(zoo.path(source.model.removeprefix(ZOO))) if source.model.startswith(ZOO) else None


def _require_format(name: str) -> None:
    """Raise MemberError if the name or the folder shows that the model is not in the format of transformers."""
    folder = Path(name).expanduser()
    inside = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    if "config.json" in inside:
        return
    if "adapter_config.json" in inside:
        raise MemberError(
            f"member {folder.name} is an adapter without its base: {name}; merge both with peft "
            "(merge_and_unload, then save_pretrained) and list the merged folder"
        )
    if GGUF.search(name) or any(GGUF.search(each) for each in inside):
        raise MemberError(
            f"member {folder.name} is in GGUF, which is not read yet: {name}; list the folder or hub id of the model that "
            "it was made from"
        )
    if folder.is_file():
        raise MemberError(f"member {folder.name} is a file: {name}; list the folder that has the model's config.json")


def _fixed(source: Source) -> tuple[str, tuple[str, ...]]:
    """Return the kind of the source's model, and the names of the options that cannot be used with this kind."""
    if not isinstance(source.model, str | Path):
        return LOADED, LOADING
    return ("bundled", ("revision", "subfolder")) if str(source.model).startswith(ZOO) else ("loaded by name", ())


def _require_dtype(source: Source) -> None:
    """Raise ConfigurationError if the dtype of a loaded model is not the requested dtype."""
    asked, own = source.options.dtype, str(getattr(source.model, "dtype", "")).removeprefix("torch.")
    if asked not in ("auto", own):
        raise ConfigurationError(
            f"member {source.called} is loaded in {own or 'no dtype'}, not in {asked}; convert it before, as in "
            f"model.to(torch.{asked}), or leave dtype out"
        )


def _require_tokenizer(value: object) -> None:
    from transformers import PreTrainedTokenizerBase

    if not isinstance(value, PreTrainedTokenizerBase):
        raise ConfigurationError(f"a member's tokenizer must be a tokenizer of transformers, not: {value!r}")
