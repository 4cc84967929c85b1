"""The logits of a model in float32, without a second copy of its weights.

The weights of a half-precision model are converted to float32 one after the other, each when an operation reads it, and
freed after the operation. So one converted weight is in memory at a time. Of a weight that is read by an index, as the
weights of experts, only the part that is read is converted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from transformers import PreTrainedModel

HALF = (torch.bfloat16, torch.float16)
PARTIAL = (torch.nn.functional.embedding, Tensor.__getitem__)  # operations that read parts of a weight


@torch.inference_mode()
def exact_logits(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits of `plain_logits`, but compute them in float32 with the model's weights.

    Besides the memory of `plain_logits`, this takes the memory of the largest single weight in float32, which is often
    the weight of the output layer: 4 bytes for each of its numbers.
    """
    with _Widening():
        return plain_logits(model, ids)


@torch.inference_mode()
def plain_logits(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> Tensor:
    """Return the float32 logits [R, T, V] of a forward pass without a cache, for R texts of T tokens."""
    tokens = torch.tensor([list(row) for row in ids], device=model.device)
    logits: Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits.float()


class _Widening(TorchFunctionMode):
    """Converts each half-precision weight to float32 when an operation of this thread reads the weight."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.dtype.__get__:  # type: ignore[attr-defined]
            return _wider(args[0].dtype) if isinstance(args[0], Parameter) else func(*args)
        if func in PARTIAL:  # converts the part that is read, not the whole weight
            return _widened(func(*args, **(kwargs or {})).as_subclass(Tensor))
        return func(*tree_map(_weight, args), **tree_map(_weight, kwargs or {}))


def _wider(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in HALF else dtype


def _weight(value: Any) -> Any:
    return _widened(value) if isinstance(value, Parameter) else value


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor
