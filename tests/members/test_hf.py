"""transformers models as members: how they are loaded, and which ones are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig

from tests import tiny
from tests.hf import hf, hf_members, models
from unisono import Ensemble, SamplingParams
from unisono.errors import ConfigurationError, MemberError
from unisono.members.base import Context, Work
from unisono.members.hf import memory
from unisono.members.hf.member import HFMember

PROMPT = [5, 17, 33]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its tokenizer on disk, as `save_pretrained` leaves it."""
    path: Path = tmp_path_factory.mktemp("models") / "tiny-llama"
    tiny.models("llama", vocab_size=tiny.TEXT_VOCABULARY)[0].save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def load(*members: object, **options: Any) -> HFMember:
    """The first member of an ensemble of these."""
    return hf(Ensemble.load(members, **options))


def test_a_folder_is_a_member_and_brings_its_tokenizer(folder: Path):
    """A local path loads; the member is called after the folder and says what the loaded model says."""
    ensemble = Ensemble.load([str(folder)], dtype="float32")
    (member,) = hf_members(ensemble)
    assert member.name == "tiny-llama"
    assert member.context_length == tiny.CONTEXT
    assert member.parameters == sum(p.numel() for p in member.model.parameters())
    (found,) = ensemble.generate(["for i"], tiny.GREEDY)
    loaded = tiny.ensemble(tiny.models("llama", vocab_size=tiny.TEXT_VOCABULARY)[:1], tiny.tokenizer())
    (wanted,) = loaded.generate(["for i"], tiny.GREEDY)
    assert (found.token_ids, found.text) == (wanted.token_ids, wanted.text)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_member_is_loaded_in_the_dtype_asked_for(folder: Path, dtype: str):
    """Weights have the dtype asked for, and logits are float32 whatever it is."""
    member = load({"model": str(folder), "dtype": dtype})
    assert member.model.dtype == getattr(torch, dtype)
    slot = member.open(Context(0))
    assert member.score([Work(slot, tokens=PROMPT, keep=2)])[0].logits.dtype == torch.float32
    member.close(slot)


def test_options_reach_from_pretrained(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Revision, device map and quantisation go to transformers as given; remote code stays off unless asked for."""
    seen: list[dict[str, Any]] = []
    original = AutoModelForCausalLM.from_pretrained

    def spy(path: str, **options: Any) -> Any:
        seen.append(options)
        known = {key: value for key, value in options.items() if key not in ("device_map", "quantization_config")}
        return original(path, **known)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", spy)
    load({"model": str(folder), "revision": "v1.0", "device": "cpu"})
    load({"model": str(folder), "device_map": "auto", "quantization": {"quant_method": "fake"}})
    load({"model": str(folder), "trust_remote_code": True})
    assert [options.get("revision") for options in seen] == ["v1.0", None, None]
    assert [options["trust_remote_code"] for options in seen] == [False, False, True]
    assert seen[1]["device_map"] == "auto"
    assert seen[1]["quantization_config"] == {"quant_method": "fake"}
    assert "device_map" not in seen[0]


def test_options_for_all_members_yield_to_their_own(folder: Path):
    """`dtype=` of `load` holds for members that name none themselves."""
    ensemble = Ensemble.load([str(folder), {"model": str(folder), "dtype": "bfloat16"}], dtype="float32")
    assert [model.dtype for model in models(ensemble)] == [torch.float32, torch.bfloat16]


def test_members_of_different_dtypes_decode_together(folder: Path):
    """A proposal of a bfloat16 member is verified against the float32 law it was drawn from (R3)."""
    ensemble = Ensemble.load([str(folder), {"model": str(folder), "dtype": "bfloat16"}], dtype="float32")
    params = SamplingParams(max_tokens=48, seed=1)
    (result,) = ensemble.generate(["for i"], params, schedule="cos:2,2")
    assert len(result.token_ids) > 0
    assert result.stats.accepted > 0


def test_the_same_model_twice_gets_two_names(folder: Path):
    """Statistics can tell members of one name apart."""
    ensemble = Ensemble.load([str(folder), str(folder)], dtype="float32")
    assert len({member.name for member in ensemble.members}) == 2


def test_a_loaded_model_without_a_tokenizer_speaks_token_ids():
    """With `tokenizer=None` prompts are token ids, results have ids and no text."""
    ensemble = tiny.ensemble(tiny.models("llama"))
    (result,) = ensemble.generate([PROMPT], tiny.GREEDY)
    assert len(result.token_ids) == 64
    assert result.text == ""


def test_a_loaded_model_may_be_listed_bare():
    """A transformers model needs no wrapping."""
    (result,) = Ensemble.load(list(tiny.models("llama"))).generate([PROMPT], tiny.GREEDY)
    assert len(result.token_ids) == 64


def test_a_loaded_model_is_evaluated_and_left_unchanged():
    """Dropout is off, whatever mode the model came in; neither weights nor configuration are touched."""
    model = tiny.build("gpt2").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = model.config.to_dict()
    ensemble = tiny.ensemble([model, tiny.models("gpt2")[1]])
    first, second = (ensemble.generate([PROMPT], tiny.GREEDY)[0].token_ids for _ in range(2))
    assert first == second
    assert not model.training
    assert model.config.to_dict() == config
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def damage_weights(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def damage_config(path: Path) -> None:
    (path / "config.json").write_text('{"model_type": "llama", ', encoding="utf-8")


def damage_type(path: Path) -> None:
    (path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}), encoding="utf-8")


def damage_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").write_text("{}", encoding="utf-8")


def remove_config(path: Path) -> None:
    (path / "config.json").unlink()


def remove_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


DAMAGES = [damage_weights, damage_config, damage_type, damage_tokenizer, remove_config, remove_weights]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_broken_folder_is_one_line_that_names_it(folder: Path, tmp_path: Path, damage: Any):
    """Whatever is wrong with a folder, the error is a MemberError of one line that says which folder."""
    broken = tmp_path / "broken-model"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    damage(broken)
    with pytest.raises(MemberError, match="broken-model") as caught:
        Ensemble.load([str(broken)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no/such-model", "./nowhere", "nonsense name"])
def test_an_unknown_member_is_named(name: str):
    """A name that is neither a folder nor on the hub is repeated in the error."""
    with pytest.raises(MemberError, match="unknown member") as caught:
        Ensemble.load([name])
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused_with_the_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Before anything is loaded, the error names the member, what it needs and what there is."""
    parameters = load(str(folder)).parameters
    gigabyte = 2**30
    monkeypatch.setattr(memory, "free_memory", lambda device: 4 * parameters - 1)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *args, **options: pytest.fail("was loaded"))
    with pytest.raises(MemberError, match=r"tiny-llama does not fit") as caught:
        Ensemble.load([str(folder)], dtype="float32", device="cpu")
    message = str(caught.value)
    assert f"{4 * parameters / gigabyte:.1f} GiB" in message
    assert "float32" in message
    assert "cpu" in message
    assert "\n" not in message


def test_half_the_bytes_fit_in_half_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """What a member needs depends on its dtype."""
    parameters = load(str(folder)).parameters
    monkeypatch.setattr(memory, "free_memory", lambda device: 2 * parameters)
    assert load({"model": str(folder), "dtype": "bfloat16"}).parameters == parameters


def padded_ensemble(**options: Any) -> Ensemble:
    """Members with 320 rows of logits, of which the tokenizer knows 300; the padding has the largest logits."""
    members = []
    for model in tiny.models("llama", vocab_size=320):
        copy = tiny.blend(model, 0, seed=0)
        with torch.no_grad():
            copy.lm_head.weight[tiny.TEXT_VOCABULARY :] *= 4
        members.append(copy)
    return tiny.ensemble(members, tiny.tokenizer(), **options)


@pytest.mark.parametrize("combination", ["weighted", "product", "contrastive:0.5", "contrastive_masked", "only:0"])
def test_rows_of_padding_get_no_mass(combination: str):
    """Rows behind the tokenizer's last id are no tokens: they are not in any law, nor ever in a text (R15, R26)."""
    ensemble = padded_ensemble(combine=combination)
    for member in ensemble.members:
        slot = member.open(Context(0))
        assert member.score([Work(slot, tokens=PROMPT, keep=1)])[0].logits.shape[-1] == tiny.TEXT_VOCABULARY
        member.close(slot)
    for temperature in (0.0, 1.0, 3.0):
        params = SamplingParams(max_tokens=48, temperature=temperature, seed=1, ignore_eos=True)
        (result,) = ensemble.generate(
            ["for"], params, schedule="speculative:3" if combination == "only:0" else "cos:2,2"
        )
        assert max(result.token_ids) < tiny.TEXT_VOCABULARY
    score = ensemble.logprobs("for", " i in range(10):")
    assert max(score.logprobs) <= 0


def test_the_law_of_a_padded_model_is_that_of_its_first_rows():
    """Padding changes nothing: the law is the softmax over the tokens alone."""
    ensemble = padded_ensemble(combine="weighted")
    token, *_ = (score := ensemble.logprobs("for", "i")).token_ids
    (prompt,) = [ensemble.tokenizer.encode("for")]

    def law(model: Any) -> Tensor:
        return tiny.fresh_logits(model, prompt)[-1, : tiny.TEXT_VOCABULARY].softmax(-1)

    wanted = torch.stack([law(model) for model in models(ensemble)]).mean(0)[token].log()
    assert score.logprobs[0] == pytest.approx(float(wanted), abs=1e-4)


def test_end_tokens_are_those_of_all_generation_configs():
    """A token that ends the text for one member ends it for all; one id and several are understood."""
    first, second = (tiny.blend(model, 0, seed=0) for model in tiny.models("llama"))
    third = tiny.blend(first, 0, seed=0)
    first.generation_config = GenerationConfig(eos_token_id=7)
    second.generation_config = GenerationConfig(eos_token_id=[8, 9])
    third.generation_config, third.config.eos_token_id = GenerationConfig(), 10
    ensemble = tiny.ensemble([first, second, third])
    assert [member.end_ids for member in ensemble.members] == [{7}, {8, 9}, {10}]
    (free,) = ensemble.generate([PROMPT], SamplingParams(max_tokens=200, temperature=5, seed=5, ignore_eos=True))
    (ended,) = ensemble.generate([PROMPT], SamplingParams(max_tokens=200, temperature=5, seed=5))
    ends = [index for index, token in enumerate(free.token_ids) if token in (7, 8, 9, 10)]
    assert ends
    assert ended.token_ids == free.token_ids[: ends[0] + 1]


def test_forwards_of_slots_do_not_mix():
    """Two slots of one member, used in turn, say what each would say alone."""
    member = HFMember(tiny.models("mistral")[0], "mistral")
    tokens = [[(3 * index + start) % tiny.VOCABULARY for index in range(30)] for start in (1, 50)]
    slots = [member.open(Context(0)), member.open(Context(0))]
    for begin in range(0, 30, 5):
        for slot, row in zip(slots, tokens, strict=True):
            logits = member.score([Work(slot, tokens=row[begin : begin + 5], keep=5)])[0].logits
            fresh = tiny.fresh_logits(member.model, row[: begin + 5])[begin:]
            torch.testing.assert_close(logits, fresh, atol=1e-4, rtol=0)


def test_the_output_layer_reads_no_slice():
    """Rows of a slice lie far apart, and products of such rows in bfloat16 take a hundred times as long on a CPU."""
    (model,) = tiny.models("llama", 1)
    seen: list[Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    member = HFMember(model, "member")
    slots = [member.open(Context(0)) for _ in range(3)]
    try:
        seen.clear()
        for keep in (1, 2, len(PROMPT)):
            member.score([Work(slot, tokens=PROMPT, keep=keep) for slot in slots])
            assert seen[-1].stride() == torch.empty(seen[-1].shape).stride()
            assert seen[-1].shape[1] == keep
    finally:
        hook.remove()


@pytest.mark.parametrize("option", [{"dtype": "int3"}, {"prompt": "no place"}, {"device": "cpu", "device_map": "auto"}])
def test_options_that_cannot_be_honoured_are_errors(folder: Path, option: dict[str, str]):
    """A member option with a wrong value is refused before anything is loaded."""
    with pytest.raises(ConfigurationError):
        Ensemble.load([{"model": str(folder), **option}])


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error(folder: Path, device: str):
    """A device that this machine does not have is named in one line."""
    with pytest.raises((MemberError, ConfigurationError)) as caught:
        Ensemble.load([{"model": str(folder), "device": device}])
    assert "\n" not in str(caught.value)
    assert "tiny-llama" in str(caught.value) or device in str(caught.value)


def test_an_unknown_option_is_an_error_with_the_nearest_name(folder: Path):
    """A misspelt member option is not ignored, neither in a mapping nor in the call."""
    with pytest.raises(ConfigurationError, match="did you mean 'dtype'"):
        Ensemble.load([{"model": str(folder), "dtypo": "float32"}])
    with pytest.raises(ConfigurationError, match="dtype"):
        Ensemble.load([str(folder)], dtypo="float32")
