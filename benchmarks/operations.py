"""What forwards consist of: products by number type, attention by kernel, and what int8 costs in bits per byte.

    python benchmarks/operations.py --output benchmarks/results/operations.json

Products run over 40 matrices of 768 x 2048, more than the caches hold; medians of runs that alternate.
"""

import argparse
import copy
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from unisono import zoo
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance
from unisono.members.hf.attention import fused

IN, OUT, COUNT = 768, 2048, 40
HEADS, SIZE = 12, 64
REPEATS = 31


def alternate(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 2):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if repeat > 1:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def products() -> dict[str, float]:
    """Seconds of each kind of product over that of packed bfloat16, for one token and for four."""
    weights = [torch.randn(OUT, IN) for _ in range(COUNT)]
    half = [weight.bfloat16() for weight in weights]
    packed = [torch.ops.mkldnn._reorder_linear_weight(weight, 1) for weight in half]
    dynamic = [int8(torch.nn.Linear(IN, OUT, bias=False)) for _ in weights]
    narrow, scales = [weight.mul(40).to(torch.int8) for weight in weights], torch.ones(OUT, dtype=torch.bfloat16)
    found = {}
    for tokens in (1, 2, 4):
        x, y = torch.randn(tokens, IN), torch.randn(tokens, IN).bfloat16()
        seconds = alternate({
            "packed": lambda y=y: [torch.ops.mkldnn._linear_pointwise(y, w, None, "none", [], "") for w in packed],
            "bfloat16": lambda y=y: [F.linear(y, weight) for weight in half],
            "float32": lambda x=x: [F.linear(x, weight) for weight in weights],
            "dynamic int8": lambda x=x: [layer(x) for layer in dynamic],
            "weight-only int8": lambda y=y: [torch.ops.aten._weight_int8pack_mm(y, weight, scales) for weight in narrow],
        })  # fmt: skip
        own = seconds.pop("packed")
        found |= {f"{name} / packed bfloat16 product, {tokens} tokens": each / own for name, each in seconds.items()}
    return found


def int8(module: torch.nn.Module) -> torch.nn.Module:
    """Dynamic quantisation of its linear layers."""
    quantised = torch.ao.quantization.quantize_dynamic(
        torch.nn.Sequential(module), {torch.nn.Linear}, dtype=torch.qint8
    )
    first: torch.nn.Module = quantised[0]
    return first


class Attention(torch.nn.Module):
    """Attention over the first N keys, as a compiled step has it."""

    def __init__(self, kernel: Callable[..., Tensor]) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, seen: Tensor, positions: Tensor) -> Tensor:
        mask = (seen <= positions.unsqueeze(-1)).unsqueeze(1)
        return self.kernel(query, keys[:, :, : seen.shape[0]], values[:, :, : seen.shape[0]], mask)


def attention() -> dict[str, float]:
    """Compiled: seconds of the library's bfloat16 kernel over those of products and sums."""
    kernels = {
        "library": lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).contiguous(),
        "fused": lambda q, k, v, mask: fused(torch.nn.Identity(), q, k, v, mask)[0],
    }
    found = {}
    with TemporaryDirectory() as folder:
        runs = {name: compiled(Attention(kernel), Path(folder) / f"{name}.pt2") for name, kernel in kernels.items()}
        for rows, width, window in ((1, 1, 100), (1, 1, 900), (1, 5, 900), (8, 1, 256), (8, 2, 256), (8, 5, 256)):
            inputs = list(example(rows, width, window))
            seconds = alternate({name: lambda run=run, i=inputs: run(list(i)) for name, run in runs.items()})
            name = f"library / fused attention, {rows} rows, {width} queries, {window} keys"
            found[name] = seconds["library"] / seconds["fused"]
    return found


def example(rows: int, width: int, window: int) -> tuple[Tensor, ...]:
    keys = torch.randn(rows, HEADS, 1024, SIZE).bfloat16()
    query = torch.randn(rows, HEADS, width, SIZE).bfloat16()
    positions = (window - width + torch.arange(width)).expand(rows, width).contiguous()
    return query, keys, keys.clone(), torch.arange(window), positions


def compiled(module: torch.nn.Module, path: Path) -> Callable[..., Any]:
    size = torch.export.Dim.DYNAMIC
    store = {0: size, 2: size}
    shapes = (store, store, store, {0: size}, {0: size, 1: size})
    program = torch.export.export(module, example(3, 5, 200), dynamic_shapes=shapes, strict=False)
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    run: Callable[..., Any] = torch._inductor.aoti_load_package(str(path)).loader.run
    return run


@torch.inference_mode()
def quality() -> dict[str, float]:
    """Bits per byte of code-m on the benchmark's prompts, by number type."""
    tokenizer = AutoTokenizer.from_pretrained(zoo.path("code-m"))
    model = AutoModelForCausalLM.from_pretrained(zoo.path("code-m")).float().eval()
    kinds = {"float32": model, "bfloat16": copy.deepcopy(model).bfloat16(), "dynamic int8": int8(copy.deepcopy(model))}
    found = {}
    for name, each in kinds.items():
        lost, size = 0.0, 0
        for text in PYTHON:
            ids = torch.tensor([tokenizer.encode(text)])
            logits = each(input_ids=ids).logits if name != "dynamic int8" else each(ids).logits
            lost += float(F.cross_entropy(logits[0, :-1].float(), ids[0, 1:], reduction="sum"))
            size += len(text.encode())
        found[f"bits per byte, code-m, {name}"] = lost / size / math.log(2)
    return found


def main() -> None:
    """Measure, print, and write the result file if asked for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    warnings.simplefilter("ignore")  # torch's, about its own future
    with torch.inference_mode():
        figures = products()
    with torch.no_grad():
        figures |= attention()
    figures |= quality()
    table = Table("figure", "measured")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}")
    Console().print(table)
    if output:
        document = {**provenance(), "repeats": REPEATS, "figures": figures}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
