"""Find, make and test the compiled forward passes of a member."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from unisono.errors import MemberError
from unisono.members.base import Context, Work
from unisono.members.hf import artifact
from unisono.members.hf.compiled import Compiled, build, discard, find, require_support
from unisono.members.hf.graphs import Graphs, require_fusing
from unisono.members.hf.probe import fault, fingerprint, small_member
from unisono.members.hf.reference import HALF
from unisono.members.hf.step import Step, Traced

if TYPE_CHECKING:
    from unisono.members.hf.member import HFMember

WARM = [(rows, width) for rows in (1, 2) for width in (1, 2, 4, 8, 16)]  # the sizes that are recorded at loading


def acquire(member: "HFMember", required: bool) -> Compiled | Graphs | None:
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
    require_support(step.model.device.type)
    return _usable(member, step) or _built(member, step)


def record(member: "HFMember", graphs: Graphs) -> None:
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
        trial.score([Work(slot, tokens=[0] * width, keep=1) for slot in slots])
        for slot in slots:
            trial.close(slot)


def _usable(member: "HFMember", step: Step) -> Compiled | None:
    """Return the tested forward passes of an earlier run; None if there are none or if they are wrong."""
    try:
        kept = find(step)
        return None if kept is None else _tested(member, kept)
    except MemberError:
        return None


def _built(member: "HFMember", step: Step) -> Compiled:
    """Compile the forward passes, which takes minutes, and test them. What can be tested before is tested first."""
    _require_structure(member)
    keys, values = zip(*member.layers, strict=True)
    return _tested(member, build(step, keys, values, member.name))


def _tested(member: "HFMember", step: Compiled) -> Compiled:
    """Return `step` after a test. A test that has been passed is not repeated while the scores are bitwise equal.

    Raises:
        MemberError: the compiled forward passes give other scores. Their file is deleted.
    """
    trial, verdict = member.trial(step), artifact.verdict(step.path)
    if verdict.exists() and verdict.read_text(encoding="utf-8") == fingerprint(trial):
        return step
    wrong = fault(trial)
    if wrong:
        discard(step)
        raise MemberError(wrong)
    verdict.write_text(fingerprint(trial), encoding="utf-8")
    return step


def _require_structure(member: "HFMember", graphs: Graphs | None = None) -> None:
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
