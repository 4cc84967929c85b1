"""The bundled models are what their cards and the wheel promise."""

import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from unisono import zoo

NAMES = ["code-m", "code-n", "code-s"]
SKILLS = ["skills-m", "skills-n", "skills-s"]
PARAMETERS = {
    "code-s": (1.2e6, 1.8e6),
    "code-m": (4.5e6, 5.5e6),
    "code-n": (4.5e6, 5.5e6),
    "skills-s": (0.05e6, 0.2e6),
    "skills-m": (0.7e6, 1e6),
    "skills-n": (0.7e6, 1e6),
}
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
SNIPPET = '''\
import os


def read_lines(path):
    """Return the lines of the file."""
    with open(path) as file:
        return file.read().splitlines()


class Stack:
    def __init__(self):
        self.items = []
'''


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(zoo.path("code-s"), local_files_only=True)


def header(name: str) -> dict[str, dict]:
    """What a safetensors file says about its tensors."""
    with (zoo.path(name) / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        found: dict[str, dict] = json.loads(file.read(length))
    found.pop("__metadata__", None)
    return found


def test_names_are_sorted_and_have_folders():
    assert zoo.names() == NAMES + SKILLS
    assert all((zoo.path(name) / "config.json").is_file() for name in NAMES + SKILLS)


def test_unknown_name_names_the_nearest():
    with pytest.raises(ValueError, match="code-m, code-n, code-s, skills-m") as error:
        zoo.path("code_m")
    assert "did you mean 'code-m'?" in str(error.value)


def test_all_folders_together_are_small():
    def size(names):
        files = [path for name in names for path in zoo.path(name).rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)

    assert size(NAMES) <= 25_000_000
    assert size(SKILLS) <= 6_000_000


@pytest.mark.parametrize("name", NAMES + SKILLS)
def test_weights_are_bf16_and_of_the_promised_size(name: str):
    tensors = header(name)
    assert {tensor["dtype"] for tensor in tensors.values()} == {"BF16"}
    smallest, largest = PARAMETERS[name]
    assert smallest <= sum(torch.Size(tensor["shape"]).numel() for tensor in tensors.values()) <= largest


@pytest.mark.parametrize("name", NAMES)
def test_configuration(name: str):
    config = json.loads((zoo.path(name) / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["vocab_size"], config["max_position_embeddings"]) == (4096, 1024)
    assert config["tie_word_embeddings"]
    generation = json.loads((zoo.path(name) / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer().eos_token_id


@pytest.mark.parametrize("file", TOKENIZER_FILES)
def test_tokenizers_are_identical(file: str):
    assert len({(zoo.path(name) / file).read_bytes() for name in NAMES}) == 1


def test_vocabulary_size():
    assert len(tokenizer()) == 4096


def test_encoding_adds_nothing():
    ids = tokenizer().encode(SNIPPET)
    assert ids == tokenizer().encode(SNIPPET, add_special_tokens=False)
    assert tokenizer().eos_token_id not in ids


@given(st.text(st.characters(codec="utf-8")))
def test_every_string_survives_the_round_trip(text: str):
    assert tokenizer().decode(tokenizer().encode(text), skip_special_tokens=False) == text


@pytest.mark.parametrize("end", ["def f(x):", "def f(x):\n", "def f(x):\n    ", "import os\nos.", "f("])
def test_a_prompt_may_end_anywhere_a_person_would_stop(end: str):
    """What follows must not change how the prompt is cut, or the model meets tokens it never saw in training."""
    whole = tokenizer().encode(end + "pass")
    assert whole[: len(tokenizer().encode(end))] == tokenizer().encode(end)


def test_chat_is_comments_and_code():
    messages = [
        {"role": "user", "content": "Add two numbers.\nBriefly."},
        {"role": "assistant", "content": "a + b"},
        {"role": "user", "content": "Thanks"},
    ]
    text = tokenizer().apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "# Add two numbers.\n# Briefly.\n\na + b\n\n# Thanks\n\n"


@pytest.mark.parametrize("name", NAMES)
def test_models_know_python(name: str):
    """Below 1.6 bits per byte on text that nobody trained on: catches damaged weights, not bad ones."""
    model = AutoModelForCausalLM.from_pretrained(zoo.path(name), dtype=torch.float32, local_files_only=True)
    ids = tokenizer()(SNIPPET, return_tensors="pt").input_ids
    with torch.inference_mode():
        loss = model(ids, labels=ids).loss.item()
    assert loss / 0.6931 * (ids.shape[1] - 1) / len(SNIPPET) < 1.6


@pytest.mark.parametrize("name", NAMES)
def test_positions_reach_the_promised_length(name: str):
    """The last quarter of a full context is not harder than the second: positions there were trained."""
    model = AutoModelForCausalLM.from_pretrained(zoo.path(name), dtype=torch.float32, local_files_only=True)
    text = Path(json.__file__).with_name("decoder.py").read_text()
    ids = torch.tensor([tokenizer().encode(text)[:1024]])
    with torch.inference_mode():
        scores = model(ids).logits[0, :-1].log_softmax(-1)
    losses = -scores.gather(1, ids[0, 1:, None])[:, 0]
    assert losses[768:].mean() < 1.25 * losses[256:512].mean()


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_it_must(name: str):
    card = (zoo.path(name) / "README.md").read_text()
    for part in ("## Training", "## Measured", "## Data", "## Samples", "--tokens", "Total variation", "xz -9"):
        assert part in card, part
    assert card.count("Prompt `") == 10
    assert "PSF-2.0" in card


def measured(title: str) -> dict[str, Any]:
    """Measured numbers are kept beside the code that makes them; the tests below hold them against the bars."""
    report = json.loads((Path(__file__).parents[2] / "zoo" / "measured.json").read_text())
    return report["sets"][title]


@pytest.mark.parametrize("title", ["held-out files", "held-out package"])
def test_large_models_beat_xz_and_their_mixture_beats_both(title: str):
    report = measured(title)
    bits = report["bits_per_byte"]
    assert max(bits["code-m"], bits["code-n"]) < report["xz_bits_per_byte"]
    assert bits["code-m + code-n"] < min(bits["code-m"], bits["code-n"])


def test_what_a_model_never_saw_is_harder_for_it():
    mathematics = measured("held-out files of mathematics")["bits_per_byte"]
    transformers = measured("held-out files of transformers")["bits_per_byte"]
    assert mathematics["code-n"] < mathematics["code-m"]
    assert transformers["code-m"] < transformers["code-n"]


@pytest.mark.parametrize("title", ["held-out files", "held-out package"])
def test_small_model_proposes_well_for_its_mixture(title: str):
    assert 1 - measured(title)["total_variation"]["code-s | code-m + code-s"] >= 0.8
