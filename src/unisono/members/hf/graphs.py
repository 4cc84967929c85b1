"""CUDA graphs of a step: recorded once per bucket of sizes, then replayed by one launch from the host.

A graph has fixed sizes and addresses. So tokens are padded behind, where nothing looks, to a power of two; the rows are
the slots from 0 up to a power of two, idle ones along; and attention looks at a power of two of positions, of which the
mask hides those not yet written. When the cache moves to grow, its graphs are recorded anew.
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
    """A graph with the tensors that it reads, which have to live as long as it does: it knows their addresses only.

    replay: runs it and returns the logits, which the next replay overwrites.
    """

    ids: Tensor
    starts: Tensor
    seen: Tensor
    replay: Run


class Graphs:
    """A step as a table of CUDA graphs, in the form of `Compiled`.

    Args:
        step: what to record. fuse: let torch.compile fuse its kernels first; takes a minute at the first bucket.
        record: turns a function of fixed tensors into one that replays it.
    """

    def __init__(self, step: Step, fuse: bool, record: Callable[[Run], Run] | None = None) -> None:
        self._made_of = step, fuse, record
        self._step: Callable[..., Tensor] = torch.compile(step, dynamic=True) if fuse else step
        self._record = record or record_cuda
        self._recorded: dict[tuple[int, ...], Recorded] = {}
        self._place: tuple[int, ...] = ()  # where the cache lies that they were recorded for

    idle = None  # idle slots between rows, any number: on a GPU rows cost little, and fewer sizes are recorded

    def fresh(self) -> "Graphs":
        """The same for another cache."""
        return Graphs(*self._made_of)

    def frame(self, first: int, last: int, width: int) -> tuple[int, int, int]:
        """The range of slots and the number of tokens to run instead of those asked for."""
        return 0, power(last), power(width)

    def __call__(
        self, ids: Tensor, starts: Tensor, window: int, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Tensor:
        """Logits [R, W, V] in float32, as of `Step`; sizes as `frame` gives them."""
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
    """Record what `run` launches, after two runs on a stream of their own that make whatever is made at first use."""
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
