"""Forwards without Python in them: one compiled function per model, for any number of rows, tokens and positions.

The model's forward over the slot cache is exported with symbolic sizes and compiled ahead of time to a shared library
with the weights frozen in it, packed as the processor wants them. It is kept between runs and loaded in a moment;
since its sizes are symbols, no shape is ever compiled again.
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

PAGEOUT = 21  # MADV_PAGEOUT of Linux 5.4 and later: pages that equal their file are dropped, and read again if touched
MAPS = Path("/proc/self/maps")
CACHED = 2**22  # bytes of weights that stay near the processor between two forwards
ROWS, WIDTH, WINDOW, CAPACITY = 3, 5, 200, 384  # of the example that is traced: unequal, and none of them 0 or 1


class Compiled:
    """A compiled step: (ids [R, W], starts [R], window, keys, values) -> logits [R, W, V] in float32. Stateless.

    Args:
        least: run at least so many tokens at once, padding behind what is asked for.
    """

    def __init__(self, path: Path, least: int = 1) -> None:
        # The loader itself: its wrapper sorts the arguments anew at every call, which costs as much as a small layer
        self._loader = aoti_load_package(str(path)).loader
        _drop_pages("/data/aotinductor/")
        self.least = least

    idle = 8  # the most slots with nothing to do between two rows of one forward

    def frame(self, first: int, last: int, width: int) -> tuple[int, int, int]:
        """The range of slots and the number of tokens to run: those asked for, padded to the least."""
        return first, last, max(width, self.least) if last - first == 1 else width

    def __call__(
        self, ids: Tensor, starts: Tensor, window: int, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Tensor:
        logits: Tensor = self._loader.run([ids, starts, _numbers(window), *keys, *values])[0]
        return logits


def find(step: Step) -> Compiled | None:
    """The compiled form of a step if an earlier run has left it here."""
    if step.model.device.type != "cpu" or not artifact.some():
        return None
    path = artifact.place(step.model, step.context)
    try:
        return Compiled(path, _least(step)) if path.exists() else None
    except Exception as error:  # whatever the loader raises for a file that was cut short
        raise MemberError(f"what an earlier run compiled cannot be read, delete it: {path}") from error


def build(step: Step, keys: Sequence[Tensor], values: Sequence[Tensor], name: str) -> Compiled:
    """Compile a step and keep the result.

    Args:
        keys, values: per layer any tensor of the form that the cache stores, [*, heads, *, dim].
        name: shown at a terminal while it takes its time.

    Raises:
        MemberError: there is no compiler, or it cannot compile this model.
    """
    _require_compiler()
    path = artifact.place(step.model, step.context)
    unfinished = artifact.unfinished(path)
    try:
        # The compiler's own warnings are about its code, not about the user's
        quiet = warnings.catch_warnings(action="ignore")
        with _shown(name), quiet, torch.inference_mode(False), torch.no_grad():
            _compile(step, _example(step, keys, values), unfinished)
        os.replace(unfinished, path)
        return Compiled(path, _least(step))
    except Exception as error:  # a compiler may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MemberError(f"{step.model.config.model_type} cannot be compiled ({reason})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def discard(step: Step) -> None:
    """Forget the compiled form of a step."""
    artifact.place(step.model, step.context).unlink(missing_ok=True)


def _least(step: Step) -> int:
    """2 where matrix units multiply weights from memory: one token takes them longer than two (benchmarks/step.py).

    A rule and no measurement, so that the same machine gives the same bits.
    """
    large = step.model.num_parameters() * 2 > CACHED
    return 1 + (large and step.model.dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported())


def _require_compiler() -> None:
    try:
        get_cpp_compiler()
    except Exception as error:
        raise MemberError("there is no C++ compiler; install g++, or load with compile='off'") from error


def _compile(step: Step, example: tuple[Any, ...], path: Path) -> None:
    size = torch.export.Dim.DYNAMIC
    stores = [{0: size, 2: size}] * len(example[3])
    shapes = ({0: size, 1: size}, {0: size}, {0: size}, stores, stores)
    with attention(step.model, FUSED):
        program = torch.export.export(step, example, dynamic_shapes=shapes, strict=False)
    # Appended weights can be dropped from memory once they are copied, those in the middle of a library cannot
    with config.patch({"freezing": True, "aot_inductor.force_mmap_weights": True}):
        aoti_compile_and_package(program, package_path=str(path))


def _example(step: Step, keys: Sequence[Tensor], values: Sequence[Tensor]) -> tuple[Any, ...]:
    def stores(like: Sequence[Tensor]) -> list[Tensor]:
        return [torch.zeros(ROWS, each.shape[1], CAPACITY, each.shape[3], dtype=each.dtype) for each in like]

    ids = torch.zeros(ROWS, WIDTH, dtype=torch.long)
    return ids, torch.arange(ROWS) + 7, torch.arange(WINDOW), stores(keys), stores(values)


def _numbers(count: int) -> Tensor:
    """0 to count - 1, a piece of a longer list that is made once."""
    return _list(power(count))[:count]


@functools.cache
def _list(count: int) -> Tensor:
    return torch.arange(count)


@contextmanager
def _shown(name: str) -> Iterator[None]:
    columns = (
        SpinnerColumn(),
        TextColumn("compiling {task.description} (once; kept for later runs)"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task(name, total=None)
        yield


def _drop_pages(part: str) -> None:
    """Drop the resident pages of mapped files whose path contains `part`; elsewhere than on Linux do nothing.

    The loader maps its file and copies the weights out of it, so they would count twice.
    """
    if not MAPS.exists():
        return
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        if part in line:
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            madvise(start, end - start, PAGEOUT)
