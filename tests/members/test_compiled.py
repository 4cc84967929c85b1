"""Compiled forwards say what the model's own say, whatever rows, widths and lengths meet, and are compiled once.

Sizes in a compiled forward are symbols, so there are no buckets to fall out of; the sizes tried here are those around
which something changes: 1, powers of two, the cache's capacity, the widest compiled forward, the longest context.
"""

import copy
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor import config

from tests import tiny
from tests.hf import hf, hf_members
from tests.members import unusual
from tests.members.test_rounding import MISTAKES
from unisono import Ensemble, SamplingParams
from unisono.errors import ConfigurationError, MemberError
from unisono.members.backends import as_source
from unisono.members.base import Context, Scores, Work
from unisono.members.hf import acquire as module
from unisono.members.hf import artifact
from unisono.members.hf.cache import BLOCK
from unisono.members.hf.compiled import Compiled, require_support
from unisono.members.hf.groups import SHORT
from unisono.members.hf.member import HFMember

TOLERANCE = 1e-4
SLOTS = 24


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))


def small() -> Any:
    """Grouped heads, one layer: what compiles fastest."""
    return tiny.models("llama", num_hidden_layers=1)[0]


def compile_member(model: Any) -> HFMember:
    member = HFMember(model, "compiled")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        member.compile("on")
    assert member.compiled
    return member


def artifact_of(model: Any) -> Path:
    compile_member(model)
    return artifact.place(model)


class Twins:
    """The same model twice, by itself and compiled; both are told the same."""

    def __init__(self, model: Any, tolerance: float = TOLERANCE, slots: int = SLOTS) -> None:
        self.members = HFMember(model, "plain"), compile_member(model)
        self.slots = [[member.open(Context(0)) for _ in range(slots)] for member in self.members]
        self.generator = torch.Generator().manual_seed(0)
        self.tolerance = tolerance

    def tokens(self, count: int) -> list[int]:
        return torch.randint(tiny.VOCABULARY, (count,), generator=self.generator).tolist()

    def score(self, work: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Append so many random tokens to each slot; the compiled member's logits, which equal the other's."""
        texts = [(slot, self.tokens(count)) for slot, count in work]
        plain, fast = (
            member.score([Work(slots[slot], tokens=text, keep=len(text)) for slot, text in texts])
            for member, slots in zip(self.members, self.slots, strict=True)
        )
        for ours, theirs in zip(fast, plain, strict=True):
            torch.testing.assert_close(ours.logits, theirs.logits, atol=self.tolerance, rtol=0)
        return [each.logits for each in fast]

    def rewind(self, slot: int, length: int) -> None:
        for member, slots in zip(self.members, self.slots, strict=True):
            member.rewind(slots[slot], length)

    def length(self, slot: int) -> int:
        return self.members[1].length(self.slots[1][slot])

    def close(self) -> None:
        for member, slots in zip(self.members, self.slots, strict=True):
            for slot in slots:
                member.close(slot)


@pytest.fixture
def twins(kept: Path) -> Any:
    pair = Twins(small())
    yield pair
    pair.close()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 9, SHORT - 1, SHORT, SHORT + 1])
def test_any_width(twins: Twins, width: int):
    """One row and several, of one width and of several; wider ones than are compiled go the model's own way."""
    twins.score([(0, width)])
    twins.score([(0, width), (1, 1), (2, width)])
    twins.score([(0, 1), (2, width)])


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 9, 16, 17, SLOTS])
def test_any_number_of_rows(twins: Twins, rows: int):
    """Unequal lengths, then unequal widths, in any number of slots."""
    for row in range(rows):
        twins.score([(row, 3 + 5 * row)])
    twins.score([(row, 1 + row % 5) for row in range(rows)])
    twins.score([(row, 1) for row in range(rows)])


@pytest.mark.parametrize("length", [1, 2, BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1])
def test_any_length_and_the_borders_of_the_cache(twins: Twins, length: int):
    """Forwards that end before, at and behind the capacity that the cache then has, with an empty slot beside."""
    twins.score([(0, length)])
    for width in (1, 2, 5):
        twins.score([(0, width), (1, 1)])
        twins.rewind(0, length)
        twins.rewind(1, 0)


def test_up_to_the_longest_context(twins: Twins):
    """A row is filled to the last position, beside one whose padding would lie behind it."""
    twins.score([(0, tiny.CONTEXT - 8), (1, tiny.CONTEXT - 1)])
    twins.score([(0, 8), (1, 1)])
    assert twins.length(0) == twins.length(1) == tiny.CONTEXT
    twins.rewind(0, tiny.CONTEXT - 1)
    twins.score([(0, 1), (2, 16)])


def test_idle_slots_between_rows_keep_what_they_hold(twins: Twins):
    """Rows need not lie side by side: those between come along, and say afterwards what they would have said."""
    twins.score([(slot, 5 + slot) for slot in range(12)])
    for rows in ([0, 2], [1, 4, 11], [0, 1 + Compiled.idle], [0, 2 + Compiled.idle], [3]):
        twins.score([(slot, 1 + slot % 3) for slot in rows])
    twins.score([(slot, 2) for slot in range(12)])


def test_a_single_token_may_be_padded(twins: Twins):
    """As on matrix units, where two tokens are faster than one; nothing of the second is left, nor looked at."""
    step = twins.members[1]._step
    assert isinstance(step, Compiled)
    step.least = 2
    for length in (1, BLOCK - 1, BLOCK, tiny.CONTEXT - 2):
        twins.score([(0, length - twins.length(0))])
        for _ in range(2):
            (logits,) = twins.score([(0, 1)])
            assert logits.shape[0] == 1
        assert twins.length(0) == length + 2
        twins.rewind(0, length)
    test_random_appends_and_rewinds(twins)


def test_random_appends_and_rewinds(twins: Twins):
    """Forty steps of random rows, widths and rollbacks."""
    for step in range(40):
        picked = torch.randperm(SLOTS, generator=twins.generator)[: 1 + step % 6].tolist()
        twins.score([(slot, 1 + (7 * step + slot) % (SHORT + 2)) for slot in picked])
        for slot in picked[::2]:
            twins.rewind(slot, twins.length(slot) * (step % 4) // 3)


def test_nothing_is_compiled_after_loading(twins: Twins):
    """No tracing and no code generation for sizes that were never seen; a change of the number of rows included."""
    counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for rows in (1, 2, 5, 13):
            for width in (1, 2, 6, 16):
                twins.score([(slot, width) for slot in range(rows)])
                for slot in range(rows):
                    twins.rewind(slot, 10 * (slot % 3) if twins.length(slot) > 20 else 0)
    assert not any(counters.values())


@pytest.mark.parametrize("schedule", ["standard", "cos:4,1", "cos:2,3"])
def test_the_text_is_that_of_uncompiled_members(schedule: str):
    """Sampled text, several rows, unequal members: token for token, with acceptances and rejections."""
    models = tiny.models("llama", num_hidden_layers=1)
    params = SamplingParams(max_tokens=48, temperature=0.7, seed=5)
    prompts = [[5, 17, 33], [9, 4], [1, 2, 3, 4, 5, 6, 7]]
    plain = tiny.ensemble(models, compile="off").generate(prompts, params, schedule=schedule)
    fast = tiny.ensemble([*models], compile="on")
    assert all(member.compiled for member in hf_members(fast))
    found = fast.generate(prompts, params, schedule=schedule)
    assert [result.token_ids for result in found] == [result.token_ids for result in plain]
    assert schedule == "standard" or all(0 < each.stats.accepted < each.stats.verified for each in found)


@pytest.mark.parametrize("law", ["only:0", "drawn:0.5,0.5"])
def test_short_requests_may_leave_members_unused(law: str):
    """50 requests of 1 to 3 tokens, all schedules in turns: a slot that stored nothing harms no later request."""
    models, dice = tiny.models("llama", num_hidden_layers=1), random.Random(0)
    plain, fast = (tiny.ensemble(models, combine=law, compile=how) for how in ("off", "on"))
    assert all(member.compiled for member in hf_members(fast))
    for index in range(50):
        params = SamplingParams(max_tokens=dice.randint(1, 3), temperature=0.7, seed=index)
        schedule = tiny.SCHEDULES[index % len(tiny.SCHEDULES)]
        texts = [each.generate([[5, 17, index]], params, schedule=schedule)[0].token_ids for each in (plain, fast)]
        assert texts[0] == texts[1], (index, schedule)


def test_forbidden_tokens_and_a_smaller_vocabulary(twins: Twins):
    """What a member must not say gets no mass, compiled or not."""
    for member in twins.members:
        member.restrict(tiny.VOCABULARY - 9, [3, 5])
    (logits,) = twins.score([(0, 4)])
    assert logits.shape == (4, tiny.VOCABULARY - 9)
    assert logits[:, [3, 5]].max() == -torch.inf


def test_auto_takes_what_was_kept_and_compiles_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A first run with `auto` neither waits nor warns; one after `on` is compiled, and so is a second member of the model."""
    compile_member(small())
    monkeypatch.setattr(module, "build", lambda *_, **__: pytest.fail("compiled"))
    found = hf(tiny.ensemble([small()], compile="auto"))
    assert found.compiled
    twice = Ensemble.load([{"model": small()}, {"model": small(), "name": "other"}], compile="on")
    assert all(member.compiled for member in hf_members(twice))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not hf(tiny.ensemble([small()])).compiled


def test_what_was_kept_is_for_these_weights_and_threads_only(monkeypatch: pytest.MonkeyPatch):
    """Other weights, another dtype, another number of threads: nothing is found."""
    place = artifact_of(small())
    assert place.exists()
    changed = tiny.blend(small(), 1e-6, seed=1)
    assert artifact.place(changed) != place
    assert artifact.place(tiny.blend(small(), 0, seed=1)) == place
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert artifact.place(small()) != place


def test_off_is_off():
    compile_member(small())
    assert not hf(tiny.ensemble([small()], compile="off")).compiled


def test_without_a_compiler_on_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The user is told why, nothing half-written stays, and the member works as with `off`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    member = HFMember(small(), "llama")
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(MemberError) as caught:
        member.compile("on")
    assert str(caught.value) == (
        "member llama cannot have compile='on': there is no C++ compiler, for example g++; use 'auto' or 'off'"
    )
    assert not member.compiled
    assert not artifact.some()
    assert member.score([Work(member.open(Context(0)), tokens=[5, 17], keep=2)])[0].logits.shape == (2, tiny.VOCABULARY)


def never(*_: object, **__: object) -> Any:
    pytest.fail("this must not run")


@pytest.mark.filterwarnings("error")
def test_attention_without_masks_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch):
    """`on` says so before anything is compiled; `auto` has nothing to say."""
    monkeypatch.setattr(module, "build", never)
    model = tiny.from_config(unusual.OTHERS["llama4"]())
    with pytest.raises(
        MemberError, match=r"member Llama4ForCausalLM cannot have compile='on': its attention takes no masks"
    ):
        tiny.ensemble([model], compile="on")
    assert not hf(tiny.ensemble([model], compile="auto")).compiled


def test_what_was_compiled_needs_no_compiler(kept: Path):
    """`on` is honoured by the file of an earlier run, on a machine that has no compiler any more."""
    artifact_of(small())
    with config.patch({"cpp.cxx": ("no-such-compiler",)}):
        compile_member(small())


def test_other_devices_cannot_be_compiled_for():
    with pytest.raises(MemberError, match="compiled for cpu and cuda, not for mps"):
        require_support("mps")


def test_wrong_positions_are_found_before_compiling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A small model of the class shows in a second what a compiled one would show after minutes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "build", never)
    monkeypatch.setattr(HFMember, "step", lambda self: MISTAKES["positions off by one"](self))
    with pytest.raises(MemberError, match="tried with a small model of its class, they give other scores"):
        HFMember(small(), "llama").compile("on")


def test_what_was_tested_is_not_tested_again(monkeypatch: pytest.MonkeyPatch, kept: Path):
    """As long as the compiled forward says the same to the last bit; another file in its place is tested anew."""
    path = artifact_of(small())
    with monkeypatch.context() as patch:
        patch.setattr(module, "fault", never)
        member = HFMember(small(), "llama")
        member.compile("auto")
        assert member.compiled
    artifact.verdict(path).write_text("what another one said", encoding="utf-8")
    monkeypatch.setattr(module, "fault", lambda member: "they are tested")
    with pytest.warns(UserWarning, match="they are tested"):
        HFMember(small(), "llama").compile("auto")


def test_a_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file cut short by a full disk is no reason to fail."""
    content = artifact_of(small()).read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = artifact.place(small())
    path.parent.mkdir(parents=True)
    path.write_bytes(content[:1000])
    member = HFMember(small(), "llama")
    with pytest.warns(UserWarning, match="cannot be read, delete it") as caught:
        member.compile("auto")
    assert str(path) in str(caught[0].message)
    assert not member.compiled
    monkeypatch.setattr(module, "build", lambda *_: "built anew")
    monkeypatch.setattr(module, "_tested", lambda member, step: step)
    assert module.acquire(member, required=True) == "built anew"  # type: ignore[comparison-overlap]


def test_a_compiled_forward_that_says_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Compilers have bugs: here what is found was compiled from another model. It is thrown away."""
    content, other = artifact_of(small()).read_bytes(), tiny.models("llama", num_hidden_layers=1)[1]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    artifact.folder().mkdir(parents=True)
    artifact.place(other).write_bytes(content)
    member = HFMember(other, "llama")
    with pytest.warns(UserWarning, match="runs without compiled forwards: they give other scores than the model"):
        member.compile("auto")
    assert not member.compiled
    assert not artifact.some()


@pytest.mark.parametrize(("given", "kept_as"), [(True, "on"), (False, "off"), ("auto", "auto")])
def test_yaml_writes_on_and_off_as_booleans(given: object, kept_as: str):
    assert as_source({"model": "x", "compile": given}).options.compile == kept_as


@pytest.mark.parametrize("wrong", ["yes", "", 1, None])
def test_other_values_are_refused(wrong: object):
    with pytest.raises(ConfigurationError, match="compile"):
        as_source({"model": "x", "compile": wrong})


@pytest.mark.slow
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_architectures(architecture: str):
    """The same for two or three layers of everything that compiles, beyond any sliding window."""
    pair = Twins(tiny.models(architecture)[0])
    test_random_appends_and_rewinds(pair)
    test_idle_slots_between_rows_keep_what_they_hold(pair)
    pair.close()
    pair = Twins(tiny.models(architecture)[0])
    test_up_to_the_longest_context(pair)
    pair.close()


def joined(scores: Sequence[Scores]) -> Tensor:
    return torch.cat([each.logits for each in scores])


@pytest.mark.slow
def test_half_precision():
    """In bfloat16 a compiled forward is as near to float32 as the model's own: 1.25 of its mean square root error at most."""
    model = tiny.build("llama")
    members = (
        HFMember(copy.deepcopy(model), "exact"),
        HFMember(half := model.to(torch.bfloat16), "plain"),
        compile_member(half),
    )
    generator = torch.Generator().manual_seed(0)
    errors: list[list[Tensor]] = [[], []]
    slots = [[member.open(Context(0)) for _ in range(4)] for member in members]
    for step in range(30):
        texts = [
            torch.randint(tiny.VOCABULARY, (1 + (step + row) % 6,), generator=generator).tolist() for row in range(4)
        ]
        exact, *found = (
            member.score([Work(slot, tokens=text, keep=len(text)) for slot, text in zip(own, texts, strict=True)])
            for member, own in zip(members, slots, strict=True)
        )
        for logits, kept in zip(found, errors, strict=True):
            kept.append(joined(logits) - joined(exact))
    plain, compiled = (torch.cat(each).square().mean().sqrt().item() for each in errors)
    assert 0 < compiled < 1.25 * plain
