"""Files of compiled forward passes for later runs. The name of a file depends on the model and the machine."""

import hashlib
import os
import platform
import threading
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from unisono.errors import MemberError
from unisono.members.hf import attention, step
from unisono.members.hf.facts import context_length

FORM = 2  # increase this number when compiled forward passes change but `sources` do not


def folder() -> Path:
    """Return the user's folder for compiled forward passes, a folder in $XDG_CACHE_HOME or, by default, in ~/.cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "unisono" / "compiled"


def place(model: PreTrainedModel, context: int | None = None) -> Path:
    """Return the path for the compiled forward pass of a model on this machine. The file need not exist.

    Args:
        context: the largest number of tokens in a slot of the member; by default the model's own limit.

    Raises:
        MemberError: the model has weights that are not plain tensors, for example quantized weights.
    """
    return folder() / f"{type(model).__name__}-{_key(model, context or context_length(model))}.pt2"


def verdict(path: Path) -> Path:
    """Return the path of the fingerprint of a compiled forward pass that has passed its test."""
    return path.with_suffix(".tested")


def some() -> bool:
    """Return whether `folder()` has a compiled forward pass. Unlike `place`, this function does not read weights."""
    return any(folder().glob("*.pt2"))


def unfinished(path: Path) -> Path:
    """Return a path for an unfinished file, which is later renamed to `path`.

    Each thread of each process gets a different path, because several threads may compile the same model.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.stem}.{os.getpid()}-{threading.get_ident()}.unfinished.pt2")


def _key(model: PreTrainedModel, context: int | None) -> str:
    """Return a digest of everything that the compiled forward pass depends on, including the weights."""
    digest = hashlib.sha256()
    kernel = model.config.get_text_config()._attn_implementation
    versions = (torch.__version__, transformers.__version__)
    sources = [Path(str(module.__file__)).read_bytes() for module in (attention, step)]
    for fact in (FORM, *sources, *versions, torch.get_num_threads(), context, kernel, *machine()):
        digest.update(repr(fact).encode())
    digest.update(model.config.to_json_string(use_diff=False).encode())
    for name, tensor in sorted(model.state_dict().items()):
        try:
            digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        except Exception as error:  # a subclass of tensors may raise any error
            kind = type(tensor).__name__
            raise MemberError(f"its weight {name} is not a plain tensor but of type {kind}") from error
    return digest.hexdigest()[:24]


def machine() -> tuple[str, str]:
    """Return the architecture and the features of the processor. The text of unknown features is empty or short."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return platform.machine(), flags
