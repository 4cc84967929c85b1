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

FORM = 2  # to be raised when what is compiled changes in another way than by these files


def folder() -> Path:
    """The user's cache folder for compiled forwards; XDG_CACHE_HOME moves it."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "unisono" / "compiled"


def place(model: PreTrainedModel) -> Path:
    """The file that holds the compiled forward of a model on this machine, whether it exists or not."""
    return folder() / f"{type(model).__name__}-{_key(model)}.pt2"


def some() -> bool:
    """Whether anything has been compiled here before; if not, no model's weights need be read to find its file."""
    return any(folder().glob("*.pt2"))


def unfinished(path: Path) -> Path:
    """Where to write what is to become `path`: two processes may compile the same model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.stem}.{os.getpid()}-{threading.get_ident()}.unfinished.pt2")


def _key(model: PreTrainedModel) -> str:
    """A digest of all that the compiled forward contains: weights, code, libraries, processor, number of threads."""
    digest = hashlib.sha256()
    for fact in (FORM, *_sources(), torch.__version__, transformers.__version__, torch.get_num_threads(), *machine()):
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
