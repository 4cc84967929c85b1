"""CUDA graphs of a `Step`. One graph is recorded for each bucket of sizes. The host replays a graph with one launch.

A graph has fixed sizes and addresses. Therefore the numbers of tokens, rows and positions are rounded up to powers of
two. Rows are padded at the end, idle slots run as additional rows, and the mask hides positions without a token. When
the cache grows, its addresses change, and the graphs are recorded again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from unisono.errors import MemberError
from unisono.members.hf.cache import BLOCK, power
from unisono.members.hf.step import Step

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Recorded:
    """A recorded graph and its input tensors. The tensors must be kept, because the graph stores only their addresses.

    ids, starts, seen: the input tensors. replay: a function that runs the graph and returns the logits. The next call
    of `replay` overwrites these logits.
    """

    ids: Tensor
    starts: Tensor
    seen: Tensor
    replay: Run


class Graphs:
    """A step that runs as CUDA graphs. A call has the same arguments and result as a call of `Compiled`.

    Args:
        step: the step to record. fuse: whether torch.compile fuses kernels before recording. Fusing takes about a
            minute for the first bucket.
        record: a function that takes a function `run`, records the kernels of `run()`, and returns a function that
            replays the kernels; by default `record_cuda`.
    """

    def __init__(self, step: Step, fuse: bool, record: Callable[[Run], Run] | None = None) -> None:
        self._made_of = step, fuse, record
        self._step: Callable[..., Tensor] = torch.compile(step, dynamic=True) if fuse else step
        self._record = record or record_cuda
        self._recorded: dict[tuple[int, ...], Recorded] = {}
        self._place: tuple[int, ...] = ()  # addresses and strides of the cache at recording

    idle = None  # no limit on idle slots between rows: rows cost little on a GPU, and fewer sizes are recorded

    def fresh(self) -> "Graphs":
        """Return a new object with the same step and options but without recorded graphs, for another cache."""
        return Graphs(*self._made_of)

    def of(self, step: Step) -> "Graphs":
        """Return graphs of another step that are recorded in the same way, without fused kernels."""
        return Graphs(step, False, self._made_of[2])

    def frame(self, first: int, last: int, width: int) -> tuple[int, int, int]:
        """Return the range of places (start, end) and the number of tokens to run.

        The range starts at 0. Its end and the number of tokens are rounded up to powers of two.
        """
        return 0, power(last), power(width)

    def __call__(
        self, ids: Tensor, starts: Tensor, window: int, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Tensor:
        """Return the logits of the step, [R, W, V] in float32. R and W must be sizes that `frame` returns."""
        place = *(store.data_ptr() for store in (*keys, *values)), *keys[0].stride()
        if place != self._place:
            self._recorded.clear()
            self._place = place
        bucket = (*ids.shape, max(BLOCK, power(window)))
        if bucket not in self._recorded:
            self._recorded[bucket] = self._new(ids, starts, bucket[-1], keys, values)
        graph = self._recorded[bucket]
        graph.ids.copy_(ids)
        graph.starts.copy_(starts)
        return graph.replay().clone()

    def _new(
        self, ids: Tensor, starts: Tensor, window: int, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Recorded:
        ids, starts = ids.clone(), starts.clone()
        seen = torch.arange(window, device=ids.device)
        return Recorded(ids, starts, seen, self._record(lambda: self._step(ids, starts, seen, keys, values)))


def require_fusing() -> None:
    """Raise MemberError if torch.compile cannot fuse kernels for CUDA on this machine."""
    if not has_triton():
        raise MemberError("torch.compile needs Triton, which does not work here")


def record_cuda(run: Run) -> Run:
    """Record the kernel launches of `run` as a CUDA graph. Return a function that replays the graph.

    First, `run` is called twice on a separate stream. These calls create objects that recording needs.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = run()

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay
