"""Load a member and its tokenizer from a `Source`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from unisono.errors import MemberError
from unisono.members.base import Member
from unisono.members.hf.dtype import default_dtype
from unisono.members.hf.facts import require_rewindable
from unisono.members.hf.member import HFMember
from unisono.members.hf.memory import auto_class, empty_model, require_room
from unisono.members.hf.options import WHERE, Options
from unisono.members.source import Source

T = TypeVar("T")


def load(source: Source, folder: str | None = None) -> tuple[HFMember, Any]:
    """Load a member and its tokenizer. Return (member, tokenizer). For a loaded model, the tokenizer may be None.

    Args:
        source: the specification of the member. Its `options` are an object of `Options`.
        folder: for a bundled model, the folder that is read instead of `source.model`; None for other models.

    Raises:
        MemberError: the model cannot be found or read, cannot be rolled back, or does not fit in memory.
    """
    if isinstance(source.model, torch.nn.Module):
        if not isinstance(source.model, PreTrainedModel):
            raise MemberError(f"a loaded member must be a transformers model, not: {type(source.model).__name__}")
        return _member(source.model, source), source.tokenizer
    path, name, options = folder or str(source.model), source.called, source.options
    where = {} if folder else _given(options, WHERE)
    # Config and tokenizer are read before the weights, because reading them is fast and finds errors
    config = _attempt(name, path, lambda: AutoConfig.from_pretrained(path, **where))
    tokenizer = source.tokenizer or _attempt(name, path, lambda: AutoTokenizer.from_pretrained(path, **where))
    with nullcontext() if sys.stderr.isatty() and not folder else without_progress_bar():
        model = _attempt(name, path, lambda: _load_model(options, name, path, config, where))
    return _member(model, source), tokenizer


def model_of(member: Member) -> PreTrainedModel:
    """Return the transformers model of a member. Raise MemberError if another backend has loaded the member."""
    if not isinstance(member, HFMember):
        raise MemberError(f"member {member.name} is no model of transformers; give a folder, a hub id or zoo:NAME")
    return member.model


def _member(model: PreTrainedModel, source: Source) -> HFMember:
    options, member = source.options, HFMember(model, source.called, source.options.context_length)
    kept = options.compile != "auto" or not options.deterministic  # results must not depend on earlier runs
    member.compile(options.compile if kept else "off")
    if options.deterministic:
        member.isolate()
    return member


def _load_model(options: Options, name: str, path: str, config: Any, where: dict[str, Any]) -> PreTrainedModel:
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = default_dtype(config, device) if options.dtype == "auto" else getattr(torch, options.dtype)
    empty = empty_model(config, options.trust_remote_code)
    require_rewindable(empty, name)
    if options.quantization is None and options.device_map is None:
        require_room(name, empty.num_parameters(), dtype, device)
    given: dict[str, Any] = {"dtype": dtype, **where, **(options.load_options or {})}
    if options.quantization is not None:
        given["quantization_config"] = options.quantization
    given |= _given(options, ("device_map", "max_memory", "attn_implementation"))
    model: PreTrainedModel
    model, found = auto_class(config).from_pretrained(path, config=config, output_loading_info=True, **given)
    missing = sorted(found["missing_keys"])
    if missing and options.quantization is None:  # transformers would fill them with random numbers
        raise MemberError(f"member {name} lacks {len(missing)} of its weights, among them {missing[0]}: {path}")
    if options.device_map is None and options.quantization is None:
        model.to(device)
    return model


def _given(options: Options, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Disable the progress bars of transformers inside the `with` block. Restore the previous setting afterwards."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _attempt(name: str, path: str, load: Callable[[], T]) -> T:
    """Return `load()`. If `load` raises an error, raise a MemberError of one line that names the member or the path."""
    try:
        return load()
    except MemberError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        if lines[0].endswith(":"):  # a list follows on the next lines
            lines[0] = " ".join(lines)
        if Path(path).is_dir() and not [*Path(path).glob("config.json"), *Path(path).glob("*/config.json")]:
            raise MemberError(f"unknown member: {path!r} is no model's folder: it has no config.json") from error
        if Path(path).exists():
            raise MemberError(f"member {name} cannot be loaded from {path}: {lines[0]}") from error
        if path.startswith((".", "~", "/")):
            raise MemberError(f"unknown member: there is no folder {path!r}") from error
        raise MemberError(
            f"unknown member: {path!r} is no local folder, and could not be had from the hub ({lines[0]})"
        ) from error
