"""Recorded graphs: buckets, padding and what happens when the cache moves, with a recorder that works without a GPU.

The stand-in does what a CUDA graph does with a recorded function: it runs it again on the same tensors, and hands out
the same tensor for the logits every time.
"""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from unisono.errors import MemberError
from unisono.members.base import Context, Work
from unisono.members.hf.cache import BLOCK
from unisono.members.hf.graphs import Graphs, Run
from unisono.members.hf.groups import SHORT
from unisono.members.hf.member import HFMember
from unisono.members.hf.step import Step

SLOTS = 11


class Recorder:
    """Counts recordings; replays into one tensor."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, run: Run) -> Run:
        self.count += 1
        logits = run()

        def replay() -> Tensor:
            return logits.copy_(run())

        return replay


def recorded(model: Any) -> tuple[HFMember, Recorder]:
    member, recorder = HFMember(model, "recorded"), Recorder()
    assert member._masks is not None
    member.record(Graphs(Step(model, member._masks, member.context_length), fuse=False, record=recorder))
    assert member.compiled
    return member, recorder


def assert_same_scores(members: tuple[HFMember, HFMember], steps: int, longest: int = SHORT + 2) -> None:
    """Random rows, widths and rollbacks: the second member says what the first does, and keeps saying it."""
    generator = torch.Generator().manual_seed(0)
    slots = [[member.open(Context(0)) for _ in range(SLOTS)] for member in members]
    for step in range(steps):
        picked = torch.randperm(SLOTS, generator=generator)[: 1 + step % 5].tolist()
        texts = [
            torch.randint(tiny.VOCABULARY, (1 + (step + k) % longest,), generator=generator).tolist() for k in picked
        ]
        plain, fast = (
            member.score([Work(own[k], tokens=text, keep=len(text)) for k, text in zip(picked, texts, strict=True)])
            for member, own in zip(members, slots, strict=True)
        )
        for ours, theirs in zip(fast, plain, strict=True):
            torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=0)
        for member, own in zip(members, slots, strict=True):
            for k in picked[::2]:
                member.rewind(own[k], member.length(own[k]) * (step % 4) // 3)
    for member, own in zip(members, slots, strict=True):
        for slot in own:
            member.close(slot)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_recorded_says_what_the_model_says(architecture: str):
    """Any rows and widths, rounded up to buckets, beyond sliding windows; wider forwards go the model's own way."""
    model = tiny.models(architecture)[0]
    member, _ = recorded(model)
    assert_same_scores((HFMember(model, "plain"), member), steps=40)


def test_logits_are_not_overwritten_by_the_next_forward():
    """What was returned stays, though the next replay writes to the same place."""
    member, _ = recorded(tiny.models("llama")[0])
    slot = member.open(Context(0))
    (first,) = member.score([Work(slot, tokens=[5, 6], keep=2)])
    kept = first.logits.clone()
    member.score([Work(slot, tokens=[9, 8], keep=2)])
    assert torch.equal(first.logits, kept)


def test_what_a_graph_reads_lives_as_long_as_it():
    """A CUDA graph keeps addresses, no tensors: on a GPU one that was freed gave other scores."""
    read: list[weakref.ref[Tensor]] = []

    def record(run: Run) -> Run:
        assert run.__closure__ is not None
        cells = [cell.cell_contents for cell in run.__closure__]
        read.extend(weakref.ref(value) for value in cells if isinstance(value, Tensor))
        logits = run()
        return lambda: logits

    model = tiny.models("llama")[0]
    member = HFMember(model, "recorded")
    assert member._masks is not None
    graphs = Graphs(Step(model, member._masks, member.context_length), fuse=False, record=record)
    stores = [torch.zeros(1, layer[0].shape[1], BLOCK, layer[0].shape[3]) for layer in member._cache.like]
    graphs(torch.tensor([[5]]), torch.tensor([0]), 1, stores, stores)
    gc.collect()
    assert read
    assert all(reference() is not None for reference in read)


def test_a_bucket_is_recorded_once():
    """Sizes within a bucket and other contents record nothing new; a closed member keeps its recordings."""
    member, recorder = recorded(tiny.models("llama")[0])
    slots = [member.open(Context(0)) for _ in range(5)]
    member.score([Work(slot, tokens=[5] * 3, keep=1) for slot in slots])
    count = recorder.count
    for width in (3, 4, 3):
        member.score([Work(slot, tokens=[7] * width, keep=1) for slot in slots])
    for slot in slots:
        member.close(slot)
    slot = member.open(Context(0))
    member.score([Work(slot, tokens=[1], keep=1)])
    again = recorder.count
    member.score([Work(slot, tokens=[1], keep=1)])
    assert (count, recorder.count) == (again - 1, again)  # one row of one token, since five rows moved the cache


def test_when_the_cache_moves_its_graphs_go():
    """A longer row makes the cache grow; what was recorded for the old place would write into freed memory."""
    model = tiny.models("llama")[0]
    members = HFMember(model, "plain"), recorded(model)[0]
    for member in members:
        slot = member.open(Context(0))
        for _ in range(BLOCK // 16 + 2):
            member.score([Work(slot, tokens=[5] * 16, keep=1)])
    plain, fast = (member.score([Work(0, tokens=[5, 6, 7], keep=3)])[0].logits for member in members)
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=0)


def test_up_to_the_longest_context():
    """Padding to a bucket may lie behind the last position."""
    model = tiny.models("opt")[0]
    members = HFMember(model, "plain"), recorded(model)[0]
    found = []
    for member in members:
        slot = member.open(Context(0))
        member.score([Work(slot, tokens=[5] * (tiny.CONTEXT - 3), keep=1)])
        found.append(member.score([Work(slot, tokens=[5, 6, 7], keep=3)])[0].logits)
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=0)


def test_what_cannot_be_recorded_runs_as_it_is():
    """A model that waits for the device in its forward: an error that says why, and the member works."""
    model = tiny.models("llama")[0]
    member = HFMember(model, "llama")
    assert member._masks is not None

    def refuse(run: Run) -> Run:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(MemberError, match="operation not permitted"):
        member.record(Graphs(Step(model, member._masks, member.context_length), fuse=False, record=refuse))
    assert not member.compiled
    assert member.score([Work(member.open(Context(0)), tokens=[5], keep=1)])[0].logits.shape == (1, tiny.VOCABULARY)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, at its first compilation
def test_fused_steps_are_not_compiled_again():
    """With torch.compile in front, sizes are symbols: after loading nothing is compiled for other sizes."""
    model = tiny.models("llama", num_hidden_layers=1)[0]
    member, recorder = HFMember(model, "fused"), Recorder()
    assert member._masks is not None
    member.record(Graphs(Step(model, member._masks, member.context_length), fuse=True, record=recorder))
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_same_scores((HFMember(model, "plain"), member), steps=40, longest=SHORT)


def fails(run: Run) -> Run:
    raise RuntimeError("out of memory")


def test_a_member_that_is_shared_is_recorded_too(recwarn: pytest.WarningsRecorder):
    """Even if its first member has given its graphs back."""
    member, _ = recorded(tiny.models("llama")[0])
    assert member.share("second").compiled
    member.release()
    assert not member.compiled
    assert member.share("third").compiled
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_shared_member_follows_the_mode_of_the_first(mode: str):
    """Recording that fails for the second member: a warning with `auto`, an error with `on`."""
    member, _ = recorded(tiny.models("llama")[0])
    member._mode = mode
    assert member._graphs is not None
    member._graphs._record = fails
    member._graphs._made_of = (*member._graphs._made_of[:2], fails)
    if mode == "on":
        with pytest.raises(MemberError, match=r"member second cannot have compile='on': .*out of memory"):
            member.share("second")
    else:
        with pytest.warns(UserWarning, match=r"second runs without compiled forwards: .*out of memory"):
            assert not member.share("second").compiled
