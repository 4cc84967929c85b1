"""Sources and backends: who takes a member, which options it has, and what twins and members of other ensembles share."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from tests import tiny
from tests.members.toy_backend import Options, Toy, ToyMember, toys
from unisono import Ensemble, SamplingParams
from unisono.errors import ConfigurationError, MemberError
from unisono.loading import Loaded, cache_budget, load_guided, load_members
from unisono.members import backends
from unisono.members.backends import as_source
from unisono.members.base import Context, Work
from unisono.members.hf.load import model_of
from unisono.members.hf.member import HFMember
from unisono.members.source import Source
from unisono.members.table import TableMember


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setattr(backends, "_registered", [])
    return toys()


def test_an_unknown_option_names_those_of_the_backend_that_takes_the_member(toy: Toy):
    with pytest.raises(ConfigurationError, match=r"member option: 'dtype'; available: model, name, prompt, seed, tok"):
        as_source({"model": "toy:3", "dtype": "float32"})
    with pytest.raises(
        ConfigurationError, match=r"member option: 'seed'; available: attn_implementation, cache_dir, compile"
    ):
        as_source({"model": "zoo:code-s", "seed": 1})
    with pytest.raises(MemberError, match="a toy has a number of tokens"):
        as_source("toy:x")
    with pytest.raises(ConfigurationError, match="seed must be an integer"):
        as_source({"model": "toy:3", "seed": "1"})


def test_a_misspelt_model_is_found_without_one(toy: Toy):
    with pytest.raises(ConfigurationError, match="did you mean 'model'"):
        as_source({"modle": "toy:3"})
    with pytest.raises(ConfigurationError, match="a member needs a model, not only: seed"):
        as_source({"seed": 1})


def test_options_of_a_call_go_behind_those_of_a_member(toy: Toy):
    assert as_source("toy:3", seed=1).options == Options(1)
    assert as_source({"model": "toy:3", "seed": 2}, seed=1).options == Options(2)
    source = as_source({"model": "toy:3", "seed": 2, "name": "x"})
    assert source.given() == {"model": "toy:3", "seed": 2, "name": "x"}
    assert as_source(source, seed=1) == source
    assert as_source(Source("toy:3"), seed=1).options == Options(1)


@pytest.mark.parametrize("wrong", [3, 0.5, object()])
def test_what_no_backend_takes_is_an_error(wrong: object):
    with pytest.raises(MemberError, match="a member is a name, a folder or a loaded model, not"):
        as_source(wrong)


@pytest.mark.parametrize("wrong", ["", None])
def test_nothing_is_no_member(wrong: object):
    with pytest.raises(ConfigurationError, match="a member is a name, a folder or a loaded model, not"):
        as_source(wrong)


def test_a_backend_registered_later_is_asked_first(toy: Toy):
    class Other(Toy):
        name = "other"

    backends.register(Other())
    assert backends.backend_of(Source("toy:3")).name == "other"
    assert backends.backend_of(Source("zoo:code-s")).name == "transformers"


def test_options_that_cannot_be_honoured_are_refused_before_loading():
    model = tiny.models("llama")[0]
    with pytest.raises(ConfigurationError, match="device cannot be changed for a member that is already loaded"):
        as_source({"model": model, "device": "cpu"})
    with pytest.raises(ConfigurationError, match="revision cannot be changed for a member that is bundled"):
        as_source("zoo:code-s", revision="main")
    with pytest.raises(ConfigurationError, match="tokenizer must be a tokenizer of transformers"):
        as_source({"model": model, "tokenizer": "gpt2"})
    with pytest.raises(ConfigurationError, match="quantization must be a quantization config"):
        as_source({"model": "x", "quantization": 4})
    with pytest.raises(MemberError, match="did you mean 'code-s'"):
        as_source("zoo:code-x")
    with pytest.raises(ConfigurationError, match="list the member as a mapping"):
        Source("x", options={"dtype": "float32"})


WITHOUT = """
import sys
from unisono.members.backends import as_source
assert as_source("zoo:code-s").options.dtype == "auto"
as_source({"model": "toy", "dtype": "float32", "quantization": {"bits": 4}})
assert not {"torch", "transformers"} & set(sys.modules)
"""


def test_a_member_is_named_without_torch_and_transformers():
    found = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_members_of_the_same_weights_are_twins(toy: Toy):
    """Also a drafter; a member of other options is none, and all are loaded once."""
    listed: list[Any] = ["toy:3", {"model": "toy:3", "seed": 1}, {"model": "toy:3", "name": "x"}]
    lineup, _ = load_members(listed, {}, draft="toy:3")
    assert lineup.twins == ((0, 2, 3),)
    assert lineup.drafters == 1
    assert lineup.names == ["toy:3#1", "toy:3#2", "x", "toy:3#3"]
    assert toy.loads == 2


def test_members_that_warp_by_themselves_are_not_combined_with_others(toy: Toy):
    """Nobody would warp the logits of the others, or the loop would warp those of both."""

    class Warping(Toy):
        name = "warping"

        def takes(self, source: Source) -> bool:
            return source.model == "toy:03"

        def _made(self, same: TableMember, name: str) -> ToyMember:
            member = super()._made(same, name)
            member.warps = True
            return member

    backends.register(Warping())
    warping = "toy:03"
    with pytest.raises(MemberError, match="member toy:03 warps its laws itself and member toy:3 does not"):
        load_members(["toy:3", warping], {})
    with pytest.raises(MemberError, match="member toy:03 warps its laws itself and member toy:3 does not"):
        load_members([warping], {}, draft="toy:3")
    assert load_members([warping, warping], {})[0].warps


def test_weights_are_shared_between_ensembles_and_slots_are_not(toy: Toy):
    loaded: Loaded = []
    (first,), (second, twin) = (load_members(each, {}, loaded)[0].members for each in (["toy:3"], ["toy:3"] * 2))
    assert toy.loads == len(loaded) == 1
    assert [member.name for member in (first, second, twin)] == ["toy:3", "toy:3#1", "toy:3#2"]
    assert [member.open(Context(1, (0,))) for member in (first, second, twin)] == [1, 1, 2]
    assert isinstance(first, ToyMember)
    assert isinstance(second, ToyMember)
    assert torch.equal(first.law([1]), second.law([1]))


def test_the_guided_pair_is_the_member_twice(toy: Toy):
    """Twins, with options and prompt of the member; weights are those of the model itself."""
    loaded: Loaded = []
    source = as_source({"model": "toy:3", "name": "x", "prompt": "# {prompt}", "seed": 4})
    load_members([source], {}, loaded)
    lineup, prompts = load_guided(source, loaded)
    assert lineup.names == ["x", "x unguided"]
    assert lineup.twins == ((0, 1),)
    assert prompts.templates == ("# {prompt}", "# {prompt}")
    assert toy.loads == 1


def test_the_fullest_device_limits_the_caches(toy: Toy, monkeypatch: pytest.MonkeyPatch):
    lineup, _ = load_members(["toy:3", "toy:3"], {})
    lineup.members[1].device = "cuda:1"
    monkeypatch.setattr("unisono.loading.free_memory", lambda device: {"cpu": 100, "cuda:1": 60}[device])
    assert cache_budget(lineup) == 30


def test_a_toy_decodes_through_the_public_surface(toy: Toy):
    ensemble = Ensemble.load(["toy:3", {"model": "toy:3", "seed": 1}], combine="weighted:0.3,0.7")
    params = SamplingParams(max_tokens=6, seed=1)
    standard, other = (
        ensemble.generate([[0]], params, schedule=schedule, verification="coupled")[0].token_ids
        for schedule in ("standard", "cos:1,2")
    )
    assert standard == other
    assert len(standard) == 6
    with pytest.raises(ConfigurationError, match="unknown member option: 'dtype'"):
        Ensemble.load(["toy:3"], dtype="float32")
    with pytest.raises(ConfigurationError, match=r"unknown option of Ensemble.load: 'sed'; did you mean 'seed'"):
        Ensemble.load(["toy:3"], sed=3)


def test_a_peer_needs_a_model_of_transformers(toy: Toy):
    model = tiny.models("llama")[0]
    assert model_of(tiny.ensemble([model]).members[0]) is model
    with pytest.raises(MemberError, match="toy:3 is no model of transformers"):
        model_of(Ensemble.load(["toy:3"]).members[0])


def test_twins_take_work_of_each_other():
    """One call of either holds the work of both; it says what each says alone."""
    member = HFMember(tiny.models("llama")[0], "llama")
    member.restrict(50, (3,))
    twin = member.twin("twin")
    assert (member.name, twin.name) == ("llama", "twin")
    contexts = Context(2, (5, 17)), Context(3, (4, 2, 9))
    slots = member.open(contexts[0]), twin.open(contexts[1])
    work = [Work(slot, context.size, (7,), 2) for slot, context in zip(slots, contexts, strict=True)]
    together = twin.score(work)
    assert [member.length(slot) for slot in slots] == [twin.length(slot) for slot in slots] == [1, 1]
    for context, said in zip(contexts, together, strict=True):
        (alone,) = member.score([Work(member.open(context), context.size, (7,), 2)])
        assert said.logits.shape == (2, 50)
        torch.testing.assert_close(said.logits, alone.logits, atol=1e-4, rtol=0)


def test_options_go_along_to_other_ensembles(monkeypatch: pytest.MonkeyPatch):
    """Compiled and isolated forwards; the vocabulary is that of the model again."""
    monkeypatch.setattr("unisono.members.hf.member.is_isolated", lambda member: True)
    member: Any = HFMember(tiny.models("llama")[0], "llama")
    member.measured, member._step = "by hand", object()
    member.isolate()
    member.restrict(50, (3,))
    twin, shared = member.twin("twin"), member.share("shared")
    for other in (twin, shared):
        assert other._together == 0
        assert other._step is member._step
        assert other.facts == member.facts
    assert twin._cache is member._cache
    assert shared._cache is not member._cache
    assert (twin.vocabulary, shared.vocabulary) == (50, tiny.VOCABULARY)
    assert shared._forbidden is None


def test_what_a_registered_backend_lacks_is_named():
    """Not found out when the first member is loaded."""

    class Partial:
        name, options = "partial", object

        def takes(self, source: object) -> bool:
            return True

    with pytest.raises(ConfigurationError, match="lacks check, load, twin, share"):
        backends.register(Partial())  # type: ignore[arg-type]
