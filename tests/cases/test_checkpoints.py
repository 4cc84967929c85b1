"""Kinds of checkpoints: what is loaded, and one honest line for what is not."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as models
from transformers import LlamaForCausalLM

from tests import tiny
from tests.hf import hf
from unisono import Ensemble, SamplingParams
from unisono.errors import MemberError
from unisono.members.hf.facts import cache_argument, require_rewindable
from unisono.members.hf.memory import empty_model

PARAMS = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
TEXT: dict[str, Any] = {**tiny.GROUPED, "vocab_size": tiny.TEXT_VOCABULARY}
VISION: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


NAMES = ["model.gguf", "some/where/model-Q4_K_M.GGUF", "owner/name:Q4_K_M", "owner/name:UD-IQ2_XXS", "owner/name:BF16"]


@pytest.mark.parametrize("name", NAMES)
def test_gguf_by_name_is_refused_as_such(name: str):
    with pytest.raises(MemberError, match=r"is in GGUF, which is not read yet: .*; list the folder"):
        Ensemble.load([name])


@pytest.mark.parametrize(
    ("file", "message"),
    [("model.Q8_0.gguf", "is in GGUF"), ("adapter_config.json", "is an adapter without its base: .*merge_and_unload")],
)
def test_folders_without_a_model_are_refused_by_what_they_hold(tmp_path: Path, file: str, message: str):
    (tmp_path / file).write_text("{}")
    with pytest.raises(MemberError, match=message):
        Ensemble.load([str(tmp_path)])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_of_a_model_is_refused_as_such(tmp_path: Path, file: str):
    (tmp_path / file).write_bytes(b"\x80{}")
    with pytest.raises(MemberError, match=f"member {file} is a file: .*; list the folder"):
        Ensemble.load([tmp_path / file])


def llava() -> Any:
    return models.LlavaConfig(
        text_config=models.LlamaConfig(**TEXT),
        vision_config=models.CLIPVisionConfig(**VISION, image_size=28, patch_size=14),
    )


def mistral3() -> Any:
    vision = models.PixtralVisionConfig(**VISION, head_dim=16, image_size=28, patch_size=14)
    return models.Mistral3Config(text_config=models.MistralConfig(**TEXT, sliding_window=None), vision_config=vision)


def qwen3_vl() -> Any:
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0}
    vision = {"hidden_size": 32, "intermediate_size": 32, "depth": 1, "num_heads": 2, "out_hidden_size": 64}
    text = {**TEXT, "head_dim": 16, "rope_parameters": rope}
    return models.Qwen3VLConfig(text_config=text, vision_config={**vision, "deepstack_visual_indexes": [0]})


@pytest.mark.parametrize("config", [llava, mistral3, qwen3_vl])
def test_a_folder_of_a_wrapped_model_is_read_as_text(config: Any, tmp_path: Path):
    """Models that read images too are known to another class of transformers; their text is that of a loaded one."""
    model = tiny.randomise(models.AutoModelForImageTextToText.from_config(config()).eval())
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    ensemble = Ensemble.load([{"model": str(tmp_path), "dtype": "float32"}])
    assert type(hf(ensemble).model) is type(model)
    found = ensemble.generate([[5, 17, 33]], PARAMS, schedule="standard")[0]
    assert list(found.token_ids) == tiny.transformers_greedy(model, [5, 17, 33], 12)


def test_dynamic_int8_is_refused_with_a_reason():
    """One scale for all rows and tokens of a forward: what a row says would hang on its neighbours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(tiny.build("llama"), {torch.nn.Linear}, dtype=torch.qint8)
    with pytest.raises(MemberError, match="torch's dynamic int8, which score a token by the tokens and rows beside it"):
        Ensemble.load([model])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DeepseekV4", "deepseek_v4 caches keys that stand for several tokens"),
        ("DeepseekV32", "deepseek_v32 caches an index beside its keys"),
        ("GlmMoeDsa", "glm_moe_dsa caches an index beside its keys"),
        ("Mamba", "mamba keeps a recurrent state"),
    ],
)
def test_what_cannot_be_rewound_is_told_by_its_own_reason(name: str, reason: str):
    with pytest.raises(MemberError, match=reason):
        require_rewindable(empty_model(getattr(models, f"{name}Config")()), "member")


class Renamed(LlamaForCausalLM):  # type: ignore[misc]
    """A model whose forward calls its cache as transformers 5.24 does."""

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, cache=None, **options):
        options[cache_argument(LlamaForCausalLM(self.config))] = cache
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **options)


def test_the_cache_goes_by_the_name_that_the_model_gives_it():
    model = Renamed(tiny.CONFIGS["llama"]()).eval()
    assert cache_argument(model) == "cache"
    tiny.randomise(model)
    found = tiny.ensemble([model]).generate([[5, 17, 33]], PARAMS, schedule="standard")[0]
    plain = LlamaForCausalLM(model.config).eval()
    plain.load_state_dict(model.state_dict())
    assert list(found.token_ids) == tiny.transformers_greedy(plain, [5, 17, 33], 12)
