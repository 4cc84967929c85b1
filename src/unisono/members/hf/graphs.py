"""CUDA graphs of a step. A graph is recorded once per bucket of sizes and then replayed by one launch from the host.

A graph has fixed sizes and addresses. Therefore the number of tokens, of rows and of positions is each rounded up to a
power of two: rows are padded at the end, idle slots run as further rows, and the mask hides positions that are not
written yet. When the cache moves because it grows, its graphs are recorded again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.members.hf.cache import BLOCK, power
from unisono.members.hf.step import Step

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Recorded:
    """A graph and the tensors that it reads, kept together because the graph stores only their addresses.

    replay: runs the graph and returns the logits. The next replay overwrites them.
    """

    ids: Tensor
    starts: Tensor
    seen: Tensor
    replay: Run


class Graphs:
    """A step that is run as CUDA graphs. It is called like `Compiled`.

    Args:
        step: the step to record. fuse: let torch.compile fuse kernels first; the first bucket then takes a minute.
        record: turns a function of fixed tensors into a function that replays it; by default `record_cuda`.
    """

    def __init__(self, step: Step, fuse: bool, record: Callable[[Run], Run] | None = None) -> None:
        self._made_of = step, fuse, record
        self._step: Callable[..., Tensor] = torch.compile(step, dynamic=True) if fuse else step
        self._record = record or record_cuda
        self._recorded: dict[tuple[int, ...], Recorded] = {}
        self._place: tuple[int, ...] = ()  # addresses and strides of the cache at recording

    idle = None  # no limit on idle slots between rows: rows cost little on a GPU, and fewer sizes are recorded

    def fresh(self) -> "Graphs":
        """Return an object with the same arguments and no graphs, for another cache."""
        return Graphs(*self._made_of)

    def frame(self, first: int, last: int, width: int) -> tuple[int, int, int]:
        """Return the range of slots and the number of tokens to run: both rounded up to powers of two, from slot 0."""
        return 0, power(last), power(width)

    def __call__(
        self, ids: Tensor, starts: Tensor, window: int, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Tensor:
        """Return logits [R, W, V] in float32, as `Step` does. R and W must be sizes that `frame` returns."""
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


def record_cuda(run: Run) -> Run:
    """Record the launches of `run`. Two runs on a separate stream come first, because the first use creates objects."""
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
