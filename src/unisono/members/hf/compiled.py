"""Forward passes that are compiled ahead of time: one function per model for any number of rows, tokens and positions.

The model's forward pass over the slot cache is exported with symbolic sizes and compiled to a shared library. The
library contains the weights in the layout that is fastest for the processor. The file of the library is kept for later
runs, because loading is faster than compiling. Because the sizes are symbolic, the function is compiled only once.
"""

import ctypes
import functools
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from torch import Tensor
from torch._inductor import aoti_compile_and_package, aoti_load_package, config
from torch._inductor.cpp_builder import get_cpp_compiler

from unisono.errors import MemberError
from unisono.members.hf import artifact
from unisono.members.hf.attention import FUSED, attention
from unisono.members.hf.cache import power
from unisono.members.hf.step import Step

PAGEOUT = 21  # MADV_PAGEOUT of Linux 5.4 and later: drops unchanged pages of a file; they are read again on access
MAPS = Path("/proc/self/maps")
CACHED = 2**22  # bytes of weights that stay in the processor's cache between two forwards
ROWS, WIDTH, WINDOW, CAPACITY = 3, 5, 200, 384  # sizes of the traced example: all different, none of them 0 or 1
_arange = functools.cache(torch.arange)


class Compiled:
    """A compiled `Step` without state: (ids [R, W], starts [R], window, keys, values) -> logits [R, W, V] in float32.

    Args:
        path: the file of the compiled step.
        least: if a forward pass has one row, the row is padded at the end to at least `least` tokens.
    """

    def __init__(self, path: Path, least: int = 1) -> None:
        self.path = path
        # The wrapper of the loader sorts the arguments at every call, which takes as long as a small layer
        self._loader = aoti_load_package(str(path)).loader
        _drop_pages("/data/aotinductor/")
        self.least = least

    idle = 8  # the largest number of idle slots between two rows of one forward pass

    def frame(self, first: int, last: int, width: int) -> tuple[int, int, int]:
        """Return the range of places (start, end) and the number of tokens to run, at least `least` for one row."""
        return first, last, max(width, self.least) if last - first == 1 else width

    def __call__(
        self, ids: Tensor, starts: Tensor, window: int, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Tensor:
        logits: Tensor = self._loader.run([ids, starts, _arange(power(window))[:window], *keys, *values])[0]
        return logits


def find(step: Step) -> Compiled | None:
    """Return the compiled step from an earlier run; None if there is none.

    Raises:
        MemberError: the file of the step cannot be read, or the model has weights that are not plain tensors.
    """
    if step.model.device.type != "cpu" or not artifact.some():
        return None
    path = artifact.place(step.model, step.context)
    try:
        return Compiled(path, _least(step)) if path.exists() else None
    except Exception as error:  # for a truncated file, the loader may raise any error
        raise MemberError(f"what an earlier run compiled cannot be read, delete it: {path}") from error


def build(step: Step, keys: Sequence[Tensor], values: Sequence[Tensor], name: str) -> Compiled:
    """Compile a step, write the file for later runs, and return the compiled step.

    Args:
        keys, values: for each layer, a tensor [*, heads, *, dim] with the dtype and sizes of the cache.
        name: the name of the member. It is shown in a terminal during compilation.

    Raises:
        MemberError: the model cannot be compiled.
    """
    path = artifact.place(step.model, step.context)
    try:
        unfinished = artifact.unfinished(path)
    except OSError as error:
        raise MemberError(f"the folder for compiled forwards cannot be made ({error})") from error
    try:
        # The compiler's warnings are about its own code, not about the user's
        quiet = warnings.catch_warnings(action="ignore")
        with _shown(name), quiet, torch.inference_mode(False), torch.no_grad():
            _compile(step, _example(step, keys, values), unfinished)
        os.replace(unfinished, path)
        return Compiled(path, _least(step))
    except Exception as error:  # a compiler may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MemberError(f"the compiler fails ({reason})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def require_support(device: str) -> None:
    """Raise MemberError if steps cannot be compiled for this device or on this machine."""
    if device != "cpu":
        raise MemberError(f"forwards are compiled for cpu and cuda, not for {device}")
    try:
        get_cpp_compiler()
    except Exception as error:
        raise MemberError("there is no C++ compiler, for example g++") from error


def discard(step: Compiled) -> None:
    """Delete the file of a compiled step."""
    for path in (step.path, artifact.verdict(step.path)):
        path.unlink(missing_ok=True)


def _least(step: Step) -> int:
    """Return the smallest number of tokens for a forward pass of one row: 2 or 1.

    The number is 2 if the processor has AMX matrix units, the dtype is bfloat16 and the weights do not fit in the
    processor's cache. In this case, a forward pass of one token takes longer than of two tokens. The rule uses no
    measurements, so that the same machine always computes bitwise equal logits. See benchmarks/step.py.
    """
    large = step.model.num_parameters() * 2 > CACHED
    return 1 + (large and step.model.dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported())


def _compile(step: Step, example: tuple[Any, ...], path: Path) -> None:
    size = torch.export.Dim.DYNAMIC
    stores = [{0: size, 2: size}] * len(example[3])
    shapes = ({0: size, 1: size}, {0: size}, {0: size}, stores, stores)
    with attention(step.model, FUSED):
        program = torch.export.export(step, example, dynamic_shapes=shapes, strict=False)
    # Weights at the end of the file can be dropped from memory after they are copied; weights inside the library cannot
    with config.patch({"freezing": True, "aot_inductor.force_mmap_weights": True}):
        aoti_compile_and_package(program, package_path=str(path))


def _example(step: Step, keys: Sequence[Tensor], values: Sequence[Tensor]) -> tuple[Any, ...]:
    stores = [
        [torch.zeros(ROWS, each.shape[1], CAPACITY, each.shape[3], dtype=each.dtype) for each in like]
        for like in (keys, values)
    ]
    return torch.zeros(ROWS, WIDTH, dtype=torch.long), torch.arange(ROWS) + 7, torch.arange(WINDOW), *stores


@contextmanager
def _shown(name: str) -> Iterator[None]:
    text = TextColumn("compiling {task.description} (once; kept for later runs)")
    columns = SpinnerColumn(), text, TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task(name, total=None)
        yield


def _drop_pages(part: str) -> None:
    """Drop the resident pages of mapped files whose path contains `part`. Do nothing on systems other than Linux.

    The loader maps its file into memory and copies the weights. Without this call, the weights take memory twice.
    """
    if not MAPS.exists():
        return
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        if part in line:
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            madvise(start, end - start, PAGEOUT)
