"""Which number type is fast here: measured, since CPUs differ in their bfloat16 units and models in their shapes."""

import copy
import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from unisono.members.hf.memory import empty_model

LAYERS = 2  # of the stand-in that is timed
TOKENS = (1, 4)  # how many a decoding step scores: alone, and behind a few proposals
RUNS = 5
MARGIN = 1.1  # bfloat16 takes half the memory, so float32 has to be faster by more than noise


@dataclass(frozen=True)
class Choice:
    """The dtype that a member gets if nobody says; `measured` tells what decided, or is empty if nothing had to."""

    dtype: torch.dtype
    measured: str = ""


def fast_dtype(config: PreTrainedConfig, device: str, compiled: bool = False) -> Choice:
    """The checkpoint's own type; half precision on a CPU becomes bfloat16, or float32 where that scores clearly faster.

    Args:
        config: of the model; a stand-in of its shape with two layers is timed.
        compiled: the forwards will be compiled: then packed products decide, which are what is left of a forward.
    """
    own = config.dtype or torch.float32
    if own not in (torch.bfloat16, torch.float16) or not device.startswith("cpu"):
        return Choice(own)
    settings = {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}
    # As text: models of equal shape are measured once
    half, single = _costs(config.model_type, json.dumps(settings, default=str), compiled, torch.get_num_threads())
    what = "products compiled" if compiled else "scoring"
    measured = f"{what} for {TOKENS[0]} and {TOKENS[1]} tokens: float32 / bfloat16 = {single / half:.2f}"
    return Choice(torch.bfloat16 if half <= MARGIN * single else torch.float32, measured)


@functools.cache
def _costs(kind: str, config: str, compiled: bool, threads: int) -> tuple[float, float]:
    """Seconds in bfloat16 and in float32."""
    settings = json.loads(config)
    settings.pop("model_type", None)
    settings.pop("dtype", None)
    try:
        model: torch.nn.Module = _stand_in(AutoConfig.for_model(kind, **settings))
    except Exception:  # code from outside; a matrix of common size must do
        model, compiled = torch.nn.Linear(1024, 4096), True
    single = _products(model, False) if compiled else _scoring(model)
    model.to(torch.bfloat16)
    return (_products(model, True) if compiled else _scoring(model)), single


def _stand_in(config: PreTrainedConfig) -> PreTrainedModel:
    """A float32 model of this shape with two layers; its weights are zeros, which take as long as others."""
    short = copy.deepcopy(config)
    text = short.get_text_config()
    text.num_hidden_layers = min(LAYERS, text.num_hidden_layers)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
    model = empty_model(short).to(torch.float32).to_empty(device="cpu").eval()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.zero_()
    return model


@torch.inference_mode()
def _scoring(model: torch.nn.Module) -> float:
    def score(count: int) -> Callable[[], object]:
        ids = torch.zeros(1, count, dtype=torch.long)
        return lambda: model(input_ids=ids, use_cache=False)

    return sum(_fastest(score(count)) for count in TOKENS)


@torch.inference_mode()
def _products(model: torch.nn.Module, packed: bool) -> float:
    """All products with weight matrices, as a compiled forward computes them: bfloat16 weights packed, others not."""
    weights = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return sum(_fastest((_packed if packed else _plain)(weights, count)) for count in TOKENS)


def _plain(weights: list[torch.Tensor], count: int) -> Callable[[], object]:
    inputs = [torch.zeros(count, weight.shape[1], dtype=weight.dtype) for weight in weights]
    return lambda: [torch.nn.functional.linear(*pair) for pair in zip(inputs, weights, strict=True)]


def _packed(weights: list[torch.Tensor], count: int) -> Callable[[], object]:
    product, pack = torch.ops.mkldnn._linear_pointwise, torch.ops.mkldnn._reorder_linear_weight
    inputs = [torch.zeros(count, weight.shape[1], dtype=weight.dtype) for weight in weights]
    packed = [pack(weight, count) for weight in weights]
    return lambda: [product(*pair, None, "none", [], "") for pair in zip(inputs, packed, strict=True)]


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of a few runs, after one to warm up."""
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
