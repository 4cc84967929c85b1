"""Find, make and test the compiled forward passes of a member."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from rich.console import Console
from rich.progress import track
from torch import Tensor

from unisono.errors import MemberError
from unisono.members.base import Context, Work
from unisono.members.hf import artifact
from unisono.members.hf.compiled import Compiled, build, discard, find, require_support
from unisono.members.hf.graphs import Graphs, require_fusing
from unisono.members.hf.probe import Modelled, fault, fingerprint, small_member
from unisono.members.hf.reference import HALF
from unisono.members.hf.step import Step, Traced

WARM = [(rows, width) for rows in (1, 2) for width in (1, 2, 4, 8, 16)]  # the sizes that are recorded at loading


class Steps(Modelled, Protocol):
    """A member whose forward pass is a function of tensors."""

    @property
    def layers(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Return for each layer an empty key and an empty value tensor with the dtype and sizes of the cache."""

    def step(self) -> Step | None:
        """Return the forward pass; None if the model accepts no masks."""

    def trial(self, step: Compiled | Graphs | Traced) -> "Steps":
        """Return a view of the member that uses other compiled forward passes."""

    def record(self, graphs: Graphs) -> None:
        """Use recorded graphs after a test."""


def acquire(member: Steps, required: bool) -> Compiled | Graphs | None:
    """Return tested compiled forward passes, or on CUDA recorded graphs; None if there are none.

    Args:
        required: whether to compile what no earlier run has compiled, and to raise an error instead of returning None.

    Raises:
        MemberError: forward passes are required but cannot be compiled, or are wrong.
    """
    step = member.step()
    if step is None:
        if required:
            raise MemberError("its attention takes no masks from outside")
        return None
    if step.model.device.type == "cuda":
        if required:
            require_fusing()
        graphs = Graphs(step, fuse=required)
        member.record(graphs)
        return graphs
    if not required:
        kept = find(step)
        return None if kept is None else _tested(member, kept)
    return _usable(member, step) or _built(member, step)


def record(member: Steps, graphs: Graphs) -> None:
    """Record graphs of a member for one row and for two rows, and test them.

    Raises:
        MemberError: the forward passes cannot be recorded, or give other scores.
    """
    if member.model.dtype in HALF:
        _require_structure(member, graphs)
    trial = member.trial(graphs)
    wrong = fault(trial)  # before the loop, because the test makes the cache larger, and then its graphs are lost
    if wrong:
        raise MemberError(wrong)
    for rows, width in track(WARM, f"recording {member.name}", console=Console(stderr=True), transient=True):
        slots = [trial.open(Context(0)) for _ in range(rows)]
        try:
            trial.score([Work(slot, tokens=[0] * width, keep=1) for slot in slots])
        except Exception as error:  # there may be no memory for another graph
            raise MemberError(" ".join(str(error).split())[:200] or type(error).__name__) from error
        finally:
            for slot in slots:
                trial.close(slot)


def _usable(member: Steps, step: Step) -> Compiled | None:
    """Return the tested forward passes of an earlier run; None if there are none or if they are wrong."""
    try:
        kept = find(step)
        return None if kept is None else _tested(member, kept)
    except MemberError:
        return None


def _built(member: Steps, step: Step) -> Compiled:
    """Compile the forward passes, which takes minutes, and test them. What can be tested before is tested first."""
    require_support(step.model.device.type)
    _require_structure(member)
    keys, values = zip(*member.layers, strict=True)
    return _tested(member, build(step, keys, values, member.name))


def _tested(member: Steps, step: Compiled) -> Compiled:
    """Return `step` after a test. A test that has been passed is not repeated while the scores are bitwise equal.

    Raises:
        MemberError: the compiled forward passes give other scores. Their file is deleted if the folder can be written.
    """
    trial, verdict = member.trial(step), artifact.verdict(step.path)
    with suppress(OSError):  # no earlier run has tested the file, or the verdict cannot be read
        if verdict.read_text(encoding="utf-8") == fingerprint(trial):
            return step
    wrong = fault(trial)
    if wrong:
        try:
            discard(step)
        except OSError as error:
            wrong += f"; delete {step.path}, which cannot be deleted here ({error.strerror or error})"
        raise MemberError(wrong)
    with suppress(OSError):  # the folder may be read-only
        verdict.write_text(fingerprint(trial), encoding="utf-8")
    return step


def _require_structure(member: Steps, graphs: Graphs | None = None) -> None:
    """Raise MemberError if the step of a small random model of the same class gives wrong scores.

    Args:
        graphs: the graphs of the member, if the step of the small model is to be recorded in the same way.
    """
    small = small_member(member)
    step = small.step() if small else None
    if small is None or step is None:  # nothing is known, so that the test of the member itself must be enough
        return
    wrong = fault(small.trial(graphs.of(step) if graphs else Traced(step)))
    if wrong:
        raise MemberError(f"tried with a small model of its class, {wrong}")
