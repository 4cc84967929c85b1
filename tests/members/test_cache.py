"""A member's cache holds exactly the row's tokens, and what it says equals a forward without a cache."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.hf import hf, hf_members
from unisono import Ensemble
from unisono.decoding import Schedule, Turn, View
from unisono.decoding.frontier import joined
from unisono.decoding.row import Row
from unisono.decoding.spec import Task
from unisono.members.base import Context, Work
from unisono.members.hf.cache import BLOCK, SlotCache
from unisono.members.hf.facts import cache_argument
from unisono.members.hf.member import HFMember
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import rounds
from unisono.types import Commit

PROMPT = [5, 17, 33, 190, 2]
TOLERANCE = 1e-4
ROLLBACKS = 8  # how often one test appends and rewinds
EDGE = tiny.WINDOW


def start(ensemble: Ensemble, schedule: object, limit: int, prompt: Sequence[int] = PROMPT) -> Row:
    """A row of the real loop at temperature 0, ready to run."""
    method = ensemble.method(schedule=schedule)
    contexts = ensemble.prompts.prepare(prompt).contexts
    return Row(ensemble.lineup, method, Task(contexts, Warp(temperature=0), limit), KeyedNoise(seed=3))


def tokens_of(row: Row, member: int) -> list[int]:
    """All tokens the row stands for, as that member reads them: prompt, committed, proposed."""
    frontier = row.frontier
    return [*row.task.contexts[member].tokens, *frontier.committed, *(int(each.token) for each in frontier.proposals)]


def held_by(row: Row, member: HFMember, index: int, slot: int) -> int:
    """How many tokens a slot holds, those of its context included."""
    return row.task.contexts[index].size - member.unread(slot) + member.length(slot)


def assert_cache_is_the_row(row: Row, member: HFMember, index: int, slot: int) -> None:
    """The cache holds a beginning of the row's tokens: its keys are those of a fresh forward over them (R13)."""
    held, tokens = held_by(row, member, index, slot), tokens_of(row, index)
    assert held <= min(len(tokens), row.task.contexts[index].size + row.task.limit - 1)
    if held == 0:
        return
    fresh = tiny.plain_cache()
    with torch.inference_mode():
        ids = torch.tensor([tokens[:held]])
        member.model(input_ids=ids, use_cache=True, **{cache_argument(member.model): fresh})
    for ours, theirs in zip(member._cache.layers, fresh.layers, strict=True):
        keys, values = ours.keys[slot : slot + 1, :, :held], ours.values[slot : slot + 1, :, :held]
        torch.testing.assert_close(keys, theirs.keys, atol=TOLERANCE, rtol=TOLERANCE)
        torch.testing.assert_close(values, theirs.values, atol=TOLERANCE, rtol=TOLERANCE)


def assert_scores_are_fresh(row: Row, members: Sequence[HFMember]) -> None:
    """Every score at an open position equals the logits of a forward without a cache."""
    for index, member in enumerate(members):
        scored = row.frontier.scored(index)
        assert scored <= row.frontier.open + 1
        if scored:
            first = row.task.contexts[index].size + row.frontier.position - 1
            fresh = tiny.fresh_logits(member.model, tokens_of(row, index))[first : first + scored]
            found = joined([said.logits for said in row.frontier.said[index]])
            torch.testing.assert_close(found, fresh, atol=TOLERANCE, rtol=0)


def checked_rounds(row: Row, members: Sequence[HFMember]) -> Iterator[list[Commit]]:
    """The row's rounds, each of them checked; no cache loses more than what a redraw makes void (R13)."""
    slots, held = None, [0] * len(members)
    for commits in rounds(row):
        slots = slots or list(row.slots._slots)
        assert_scores_are_fresh(row, members)
        if row.finished:  # its slots are free again
            yield commits
            return
        for index, member in enumerate(members):
            assert_cache_is_the_row(row, member, index, slots[index])
            void_from = row.task.contexts[index].size + row.frontier.position - 1
            now = held_by(row, member, index, slots[index])
            assert now >= min(held[index], void_from)
            held[index] = now
        yield commits


@pytest.mark.parametrize("schedule", ["cos:2,3", "speculative:4"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_cached_equals_fresh_after_every_round(architecture: str, schedule: str):
    """Scores and caches of both members are right after every round, with rejections, beyond the window (R9, R11)."""
    ensemble = tiny.ensemble(tiny.models(architecture))
    row = start(ensemble, schedule, limit=4 * EDGE)
    tokens = [commit.token for commits in checked_rounds(row, hf_members(ensemble)) for commit in commits]
    assert len(tokens) == 4 * EDGE
    assert 0 < row.stats.accepted < row.stats.verified


def test_three_members_that_wait_for_each_other_have_right_caches():
    """With draft lengths 3, 2, 1 members lag behind by several tokens and rounds, and catch up correctly."""
    ensemble = tiny.ensemble(tiny.models("gemma3", 3))
    row = start(ensemble, "cos:3,2,1", limit=24)
    for _ in checked_rounds(row, hf_members(ensemble)):
        pass
    assert 0 < row.stats.accepted < row.stats.verified


@pytest.mark.parametrize("length", [1, 2, EDGE - 1, EDGE, EDGE + 1, 100])
@pytest.mark.parametrize("architecture", ["mistral", "gemma3", "opt"])
def test_prompts_of_any_length(architecture: str, length: int):
    """A prompt of one token works, and so does one that fills the window or is far longer (R12)."""
    ensemble = tiny.ensemble(tiny.models(architecture))
    prompt = [(7 * index + 3) % tiny.VOCABULARY for index in range(length)]
    for _ in checked_rounds(start(ensemble, "cos:4,1", 10, prompt), hf_members(ensemble)):
        pass


def on_and_off() -> Schedule:
    """Member 1 drafts for member 0 every now and then: six turns without it, then six with it."""
    turns = itertools.count()

    def turn(view: View) -> Turn:
        drafting = next(turns) % 12 >= 6
        return Turn((1,), ((1, 3),)) if drafting and view.open == 0 else Turn((0,))

    return Schedule("on and off", turn)


def test_members_that_skipped_rounds_catch_up():
    """A drafter that was not called for a while reads what it missed; nothing in its cache is stale (R27)."""
    ensemble = tiny.ensemble(tiny.models("llama"), combine="only:0")
    row = start(ensemble, on_and_off(), limit=60)
    lengths, proposed = [], []
    for _ in checked_rounds(row, hf_members(ensemble)):
        lengths.append(held_by(row, hf(ensemble, 1), 1, row.slots._slots[1]) if row.slots else 0)
        proposed.append(row.stats.members[1].proposed)
    assert lengths[:6] == [0] * 6
    assert proposed[-1] > proposed[12] == proposed[17] > proposed[5] == 0
    assert row.stats.members[1].accepted > 1


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@settings(max_examples=6)
@given(data=st.data())
def test_append_and_rewind_in_any_order(architecture: str, data: st.DataObject):
    """After any series of appends and rewinds, logits equal those of a forward over the tokens that are left."""
    member = HFMember(tiny.models(architecture)[0], architecture)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99), label="tokens"))
    slot, held = member.open(Context(0)), list[int]()
    for _ in range(ROLLBACKS):
        count = data.draw(st.integers(1, 20), label="append")
        keep = data.draw(st.integers(1, count), label="keep")
        tokens = torch.randint(tiny.VOCABULARY, (count,), generator=generator).tolist()
        held += tokens
        logits = member.score([Work(slot, tokens=tokens, keep=keep)])[0].logits
        fresh = tiny.fresh_logits(member.model, held)[-keep:]
        torch.testing.assert_close(logits, fresh, atol=TOLERANCE, rtol=0)
        left = data.draw(st.integers(0, len(held)), label="rewind to")
        member.rewind(slot, left)
        del held[left:]
        assert member.length(slot) == left
    member.close(slot)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("architecture", ["mistral", "gemma3"])
def test_rollback_across_the_edge_of_the_window(architecture: str, attention: str):
    """Tokens that had left the sliding window count again after a rollback, whatever computes attention (R10, R11)."""
    model = tiny.build(architecture, _attn_implementation=attention)
    assert model.config._attn_implementation == attention
    member = HFMember(model, architecture)
    tokens = [(11 * index + 5) % tiny.VOCABULARY for index in range(60)]
    slot = member.open(Context(0))
    member.score([Work(slot, tokens=tokens[:50], keep=1)])
    for length, burst in ((EDGE - 2, 1), (EDGE - 1, 4), (EDGE, 2), (EDGE + 1, 8), (30, 3), (2, 40)):
        member.rewind(slot, length)
        logits = member.score([Work(slot, tokens=tokens[length : length + burst], keep=burst)])[0].logits
        fresh = tiny.fresh_logits(model, tokens[: length + burst])[length:]
        torch.testing.assert_close(logits, fresh, atol=TOLERANCE, rtol=0)
        if length + burst < 50:
            member.score([Work(slot, tokens=tokens[length + burst : 50], keep=1)])


def test_capacity_grows_and_keeps_what_it_holds():
    """Growing the buffers, also in the middle of an append after a rewind, loses and invents nothing, in any slot."""
    cache, references = SlotCache(), {}
    for slot in (cache.open(), cache.open(), cache.open()):
        references[slot] = torch.empty(1, 2, 0, 4)
    for turn, (count, left) in enumerate(((3, 2), (250, 252), (1, 253), (10, 255), (600, 700), (1, 701), (2000, 9))):
        for slots in ([turn % 3], [0, 2], [0, 1, 2]):
            new = torch.randn(len(slots), 2, count, 4)
            cache.select(slots, count, torch.device("cpu"))
            keys, values = cache.update(new, -new, 0)
            for row, slot in enumerate(slots):
                held = references[slot] = torch.cat([references[slot], new[row : row + 1]], -2)
                assert torch.equal(keys[row, :, : held.shape[-2]], held[0])
                assert torch.equal(values[row, :, : held.shape[-2]], -held[0])
                cache.lengths[slot] = min(held.shape[-2], left + slot)
                references[slot] = held[..., : left + slot, :]
    assert cache.shape[1] >= 2700


def test_a_rewind_copies_nothing_and_other_slots_do_not_notice():
    """Rolling back lowers a length; the buffers stay where they are, and another slot says what it said."""
    member = HFMember(tiny.models("llama")[0], "llama")
    one, other = member.open(Context(0)), member.open(Context(0))
    member.score([Work(one, tokens=PROMPT, keep=1)])
    before = member.score([Work(other, tokens=PROMPT, keep=5)])[0].logits
    buffers = [layer.keys.data_ptr() for layer in member._cache.layers]
    member.rewind(one, 1)
    member.score([Work(one, tokens=[9, 9, 9], keep=1)])
    assert [layer.keys.data_ptr() for layer in member._cache.layers] == buffers
    member.rewind(other, 0)
    assert torch.equal(member.score([Work(other, tokens=PROMPT, keep=5)])[0].logits, before)


def test_a_slot_that_stored_nothing_leaves_the_form_known():
    """A range of slots can be prepared after any number of slots that were opened and closed without a forward."""
    cache = SlotCache()
    cache.close(cache.open())
    slot = cache.open()
    cache.select([slot], 3, torch.device("cpu"))
    cache.update(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), 0)
    for _ in range(3):
        cache.close(slot)
        slot = cache.open()
    span = cache.span(slot, slot + 1, 5, [slot])
    assert [stored.shape for stored in (*span.keys, *span.values)] == [(1, 2, BLOCK, 4)] * 2


def test_closing_frees_and_closing_again_is_harmless():
    """A closed slot is gone; its number may be handed out again, empty."""
    member: Any = HFMember(tiny.models("llama")[0], "llama")
    slot = member.open(Context(0))
    member.close(slot)
    member.close(slot)
    assert member._cache.lengths == {}
    assert member.length(member.open(Context(0))) == 0
