"""How a member is loaded: arguments of `from_pretrained`, number types, the length of the context."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig, MptConfig, Phi3Config

import unisono
from tests import tiny
from tests.hf import hf
from unisono import Ensemble, SamplingParams
from unisono.errors import ConfigurationError, MemberError, RequestError
from unisono.members.backends import as_source
from unisono.members.base import Context, Work
from unisono.members.hf import artifact
from unisono.members.hf.facts import context_length
from unisono.members.hf.member import HFMember
from unisono.members.hf.memory import empty_model
from unisono.members.hf.options import Options

TOKEN = "hf_secret"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its tokenizer, in a subfolder."""
    path: Path = tmp_path_factory.mktemp("models")
    tiny.models("llama", vocab_size=tiny.TEXT_VOCABULARY)[0].save_pretrained(path / "inner")
    tiny.tokenizer().save_pretrained(path / "inner")
    return path


def test_a_subfolder_is_read(folder: Path):
    ensemble = Ensemble.load([{"model": str(folder), "subfolder": "inner", "attn_implementation": "eager"}])
    assert hf(ensemble).model.config._attn_implementation == "eager"
    assert hf(ensemble).masked
    tokens = ensemble.generate(["for i"], SamplingParams(max_tokens=8, temperature=0))[0].token_ids
    (plain,) = Ensemble.load([str(folder / "inner")]).generate(["for i"], SamplingParams(max_tokens=8, temperature=0))
    assert tokens == plain.token_ids


def test_each_option_goes_where_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Where files lie: to configuration, tokenizer and model. Further arguments: to the model alone."""
    seen: dict[str, dict[str, Any]] = {}

    def spy(owner: Any) -> None:
        original = owner.from_pretrained

        def called(path: str, **options: Any) -> Any:
            seen[owner.__name__] = options
            return original(path, **{key: value for key, value in options.items() if key != "max_memory"})

        monkeypatch.setattr(owner, "from_pretrained", called)

    for owner in (AutoConfig, AutoTokenizer, AutoModelForCausalLM):
        spy(owner)
    where = {"cache_dir": str(folder / "cache"), "token": TOKEN, "local_files_only": True}
    further = {"max_memory": {"cpu": "1GiB"}, "device_map": "auto"}
    Ensemble.load([{"model": str(folder / "inner"), **where, **further, "load_options": {"use_safetensors": True}}])
    assert set(seen) == {"AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"}
    assert all(options.items() >= where.items() for options in seen.values())
    assert seen["AutoModelForCausalLM"].items() >= {**further, "use_safetensors": True}.items()
    assert not {"max_memory", "use_safetensors", "device_map"} & {*seen["AutoConfig"], *seen["AutoTokenizer"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attn_implementation": "flash_attention_2"}, "unknown attn_implementation: 'flash_attention_2'.*eager, sdpa"),
        ({"load_options": {"dtype": "float32"}}, "must not hold 'dtype': give the member's dtype by itself"),
        (
            {"load_options": {"torch_dtype": "float32"}},
            "must not hold 'torch_dtype': give the member's dtype by itself",
        ),
        ({"load_options": {"token": TOKEN}}, "must not hold 'token'"),
        ({"load_options": ["use_safetensors"]}, "load_options must be a mapping"),
        ({"max_memory": {"cpu": "1GiB"}}, 'give device_map="auto" too'),
        ({"context_length": 15}, "context_length must be an integer, 16 or more, not: 15"),
        ({"local_files_only": "yes"}, "must be true or false"),
        ({"dtype": torch.int8}, "unknown dtype: 'int8'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError, match=message):
        as_source({"model": "some/model", **options})


def test_an_argument_that_nobody_knows_is_one_line(folder: Path):
    with pytest.raises(MemberError, match=r"cannot be loaded from .*nobody_knows") as caught:
        Ensemble.load([{"model": str(folder / "inner"), "load_options": {"nobody_knows": 1}}])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"{TOKEN} ", f"{TOKEN}é", "", 7, {"token": TOKEN}])
def test_a_token_that_cannot_be_one_is_not_shown(token: object):
    with pytest.raises(ConfigurationError) as caught:
        as_source({"model": "some/model", "token": token})
    assert TOKEN not in str(caught.value)


def test_a_token_is_in_no_representation(folder: Path):
    source = as_source({"model": str(folder / "nothing"), "token": TOKEN, "load_options": {"proxies": {"http": TOKEN}}})
    assert TOKEN not in repr(source)
    assert source.given()["token"] == TOKEN  # but another source can be made of it
    with pytest.raises(MemberError) as caught:
        Ensemble.load([source])
    assert TOKEN not in str(caught.value)


def test_a_source_is_a_public_name(folder: Path):
    """A member may be listed as the object that the mapping becomes."""
    source = unisono.Source(str(folder / "inner"), options=Options(dtype="float32"))
    assert Ensemble.load([source]).members[0].facts["dtype"] == "float32"


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_a_dtype_of_torch_is_taken_like_its_name(folder: Path, dtype: object):
    assert hf(Ensemble.load([str(folder / "inner")], dtype=dtype)).model.dtype == torch.bfloat16


def test_a_dtype_for_all_is_one_of_those_loaded_by_name(folder: Path):
    """Beside a loaded model it is accepted where it is that model's own."""
    model = tiny.models("llama", vocab_size=tiny.TEXT_VOCABULARY)[0]
    listed = [{"model": model, "tokenizer": tiny.tokenizer()}, str(folder / "inner")]
    ensemble = Ensemble.load(listed, dtype=torch.float32)
    assert [member.facts["dtype"] for member in ensemble.members] == ["float32"] * 2
    with pytest.raises(
        ConfigurationError, match=r"LlamaForCausalLM is loaded in float32, not in bfloat16.*model\.to\("
    ):
        Ensemble.load(listed, dtype="bfloat16")


def llama(**rope: Any) -> LlamaConfig:
    scaling = {"rope_theta": 10000.0, **rope} if rope else None
    return LlamaConfig(**{**tiny.GROUPED, "max_position_embeddings": 64}, rope_scaling=scaling)


@pytest.mark.parametrize(
    ("rope", "wanted"),
    [
        ({"rope_type": "linear", "factor": 4.0}, 256),
        ({"rope_type": "yarn", "factor": 4.0}, 256),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}, 64),  # extended already
        ({"rope_type": "dynamic", "factor": 4.0}, 64),
        ({}, 64),
    ],
)
def test_scaled_positions_lengthen_the_context(rope: dict[str, Any], wanted: int):
    assert context_length(empty_model(llama(**rope))) == wanted


def test_text_beyond_the_original_length_is_that_of_transformers():
    """128 tokens of a model that was first trained for 64; the prompt alone is longer than that."""
    model = tiny.from_config(llama(rope_type="linear", factor=2.0))
    prompt = [(7 * index) % 98 + 2 for index in range(100)]
    found = tiny.ensemble([model]).generate([prompt], SamplingParams(max_tokens=40, temperature=0), schedule="standard")
    assert list(found[0].token_ids) == tiny.transformers_greedy(model, prompt, len(found[0].token_ids))
    assert len(found[0].token_ids) == 28


def test_the_context_of_mpt_ends_with_its_biases():
    """Its length has another name; beyond it, the forward of a request failed."""
    model = tiny.from_config(MptConfig(d_model=64, n_heads=4, n_layers=2, max_seq_len=64, vocab_size=99))
    prompt = [(7 * index) % 98 + 1 for index in range(50)]
    (found,) = tiny.ensemble([model]).generate([prompt], tiny.GREEDY, schedule="standard")
    assert list(found.token_ids) == tiny.transformers_greedy(model, prompt, 14)
    with pytest.raises(RequestError, match="too long: 70 tokens for a context of 64"):
        tiny.ensemble([model]).generate([[5] * 70], tiny.GREEDY)


def test_a_context_length_that_is_set():
    """Shorter for any model; longer where positions are computed. A shared member has it too."""
    model = tiny.from_config(llama())
    for length in (20, 300):
        member = hf(Ensemble.load([{"model": model, "context_length": length}]))
        assert member.context_length == member.share("other").context_length == length
    slot = member.open(Context(0))
    tokens = [(7 * index) % 98 + 2 for index in range(100)]
    logits = member.score([Work(slot, tokens=tokens, keep=5)])[0].logits
    torch.testing.assert_close(logits, tiny.fresh_logits(model, tokens)[-5:], atol=1e-4, rtol=0)
    assert artifact.place(model, 300) != artifact.place(model) == artifact.place(model, 64)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            GPT2Config(**tiny.GPT2_SIZES, vocab_size=199),
            "at most 512 tokens, not 600: its table of positions ends there",
        ),
        (llama(rope_type="dynamic", factor=4.0), "at most 64 tokens, not 600: dynamic scaling changes what is cached"),
        (
            Phi3Config(
                **tiny.GROUPED,
                original_max_position_embeddings=64,
                rope_scaling={
                    "rope_type": "longrope",
                    "short_factor": [1.0] * 8,
                    "long_factor": [2.0] * 8,
                    "factor": 8.0,
                },
            ),
            "at most 64 tokens, not 600: longrope scaling",
        ),
    ],
)
def test_no_more_positions_than_there_are(config: Any, message: str):
    with pytest.raises(MemberError, match=f"{message}.*lower its context_length"):
        HFMember(tiny.from_config(config), "model", 600)
