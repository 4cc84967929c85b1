"""Where compiled forwards are kept between runs, and what each of them depends on."""

import hashlib
import os
import platform
import threading
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

import unisono.members.hf.attention
import unisono.members.hf.step
from unisono.members.hf.facts import context_length

FORM = 2  # to be raised when what is compiled changes in another way than by these files


def folder() -> Path:
    """The user's cache folder for compiled forwards; XDG_CACHE_HOME moves it."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "unisono" / "compiled"


def place(model: PreTrainedModel, context: int | None = None) -> Path:
    """The file that holds the compiled forward of a model on this machine, whether it exists or not.

    Args:
        context: the most tokens that the member holds; the model's own number by default.
    """
    return folder() / f"{type(model).__name__}-{_key(model, context or context_length(model))}.pt2"


def some() -> bool:
    """Whether anything has been compiled here before; if not, no model's weights need be read to find its file."""
    return any(folder().glob("*.pt2"))


def unfinished(path: Path) -> Path:
    """Where to write what is to become `path`: two processes may compile the same model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.stem}.{os.getpid()}-{threading.get_ident()}.unfinished.pt2")


def _key(model: PreTrainedModel, context: int | None) -> str:
    """A digest of all that the compiled forward contains: weights, code, libraries, processor, number of threads."""
    digest = hashlib.sha256()
    attention = model.config.get_text_config()._attn_implementation
    versions = (torch.__version__, transformers.__version__)
    for fact in (FORM, *_sources(), *versions, torch.get_num_threads(), context, attention, *machine()):
        digest.update(repr(fact).encode())
    digest.update(model.config.to_json_string(use_diff=False).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:24]


def _sources() -> list[bytes]:
    files = (unisono.members.hf.attention.__file__, unisono.members.hf.step.__file__)
    return [Path(file).read_bytes() for file in files]


def machine() -> tuple[str, str]:
    """What instructions are for: the architecture, and the processor's features where they are known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return platform.machine(), flags
