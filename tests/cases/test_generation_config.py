"""Sampling values of a member's generation config: followed where nothing is said, and named in the result."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from tests import tiny
from tests.facade.one_line import one_line
from tests.server.live import live
from unisono import ConfigurationError, Ensemble, SamplingParams
from unisono.config import Config, from_mapping
from unisono.members.backends import as_source
from unisono.members.table import TableMember
from unisono.server.catalog import Catalog

PROMPT = "for i in"
NARROW: dict[str, Any] = {"temperature": 0.01, "top_k": 1}
ALL: dict[str, Any] = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1}


def model(architecture: str = "llama", **said: Any) -> Any:
    """A tiny model, of a short context, whose generation config says this."""
    made = tiny.build(architecture, vocab_size=tiny.TEXT_VOCABULARY, max_position_embeddings=24)
    made.generation_config = GenerationConfig(**said)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose generation config says `NARROW`."""
    path = tmp_path_factory.mktemp("narrow")
    model(**NARROW, do_sample=True).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return str(path)


def load(*members: Any, **options: Any) -> Ensemble:
    return tiny.ensemble(members, tiny.tokenizer(), **options)


def test_a_request_that_says_nothing_follows_the_file(folder: str):
    """As with transformers' `generate`: here it leaves one possible text."""
    ensemble = Ensemble.load([folder], dtype="float32")
    results = [ensemble.generate(PROMPT)[0] for _ in range(3)]
    assert len({result.token_ids for result in results}) == 1
    assert results[0].generation_config == NARROW
    (*_, last) = ensemble.stream(PROMPT)
    assert last.result is not None
    assert last.result.token_ids == results[0].token_ids


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([ALL], ALL),
        ([{}, {"top_p": 0.9}], {"top_p": 0.9}),
        ([{"top_k": 40}, {"top_p": 0.9}], {"top_k": 40}),
        ([{"temperature": 1.0, "top_p": 1.0}, {"min_p": 0.1}], {"min_p": 0.1}),
        ([{"do_sample": False, "temperature": 0.7, "max_new_tokens": 3}], {"temperature": 0.7}),
        ([{"max_new_tokens": 3}], {}),
    ],
    ids=["all five", "of the second", "the first wins", "that turn off", "do_sample", "lengths"],
)
def test_the_first_member_that_says_anything(members: list[dict[str, Any]], expected: dict[str, Any]):
    """Lengths, `do_sample` and values that turn a step off do not count."""
    ensemble = load(*(model(**said) for said in members))
    assert ensemble.default_params == SamplingParams(**expected)
    assert ensemble.lineup.sampling == expected


def test_a_draft_says_nothing():
    """It is no part of the combination, and must not change the text."""
    draft = {"model": model(top_k=3), "tokenizer": tiny.tokenizer()}
    assert load(model(), draft=draft).default_params == SamplingParams()


def test_parameters_of_the_user_are_taken_as_they_are(folder: str):
    """Only a request without any follows the file; `default_params` is there to build on."""
    ensemble = Ensemble.load([folder], dtype="float32")
    params = SamplingParams(max_tokens=12, seed=1)
    assert load(model()).generate(PROMPT, params)[0].token_ids == ensemble.generate(PROMPT, params)[0].token_ids
    assert ensemble.generate(PROMPT, params)[0].generation_config == {}
    warmer = replace(ensemble.default_params, temperature=0.7, max_tokens=2)
    assert ensemble.generate(PROMPT, warmer)[0].generation_config == {"top_k": 1}
    assert ensemble.method().names == ensemble.method(ensemble.default_params).names


def test_scores_do_not_follow_the_file():
    plain, said = load(model()), load(model(**ALL))
    assert plain.logprobs(PROMPT, " range") == said.logprobs(PROMPT, " range")


def test_off():
    """In the library and in a config file, where YAML reads `off` as false; anything else is refused before loading."""
    assert load(model(**ALL), generation_config="off").default_params == SamplingParams()
    for value in ("off", False):
        assert from_mapping({"generation_config": value}).generation_config == "off"
    assert "'vllm'" in one_line(ConfigurationError, lambda: from_mapping({"generation_config": "vllm"}))
    assert "'vllm'" in one_line(ConfigurationError, lambda: Ensemble.load(["no/such"], generation_config="vllm"))


@pytest.mark.parametrize("said", [{"temperature": -1.0}, {"top_k": "many"}, {"top_p": 0.0}, {"min_p": True}])
def test_a_value_that_cannot_be_used(said: dict[str, Any]):
    """One warning names it, and the other values stand."""
    broken = model()
    broken.generation_config = GenerationConfig(repetition_penalty=1.1)
    (name,) = said
    setattr(broken.generation_config, name, said[name])
    with pytest.warns(UserWarning, match=f"generation_config of LlamaForCausalLM: {name} must be") as caught:
        ensemble = load(broken)
    assert len(caught) == 1
    assert ensemble.default_params == SamplingParams(repetition_penalty=1.1)


def test_other_backends_say_nothing():
    assert TableMember.random(5, 1).sampling == {}


def test_the_command_line(folder: str, run: Any, tmp_path: Path):
    """Per option that is absent, also from the config file; the line under the text names what was taken."""
    base = ("generate", PROMPT, "-m", folder, "--dtype", "float32", "--max-tokens", "4", "--json")
    assert json.loads(run(*base).out)["generation_config"] == NARROW
    assert json.loads(run(*base, "--temperature", "0.5").out)["generation_config"] == {"top_k": 1}
    assert json.loads(run(*base, "--generation-config", "off").out)["generation_config"] == {}
    file = tmp_path / "config.yaml"
    file.write_text("sampling: {top_k: 0, temperature: 1.0}\n")
    assert json.loads(run(*base, "--config", str(file)).out)["generation_config"] == {}
    assert "temperature 0.01 of generation_config, top_k 1 of generation_config" in run(*base[:-1]).err


def test_the_server(folder: str):
    """Per field that is absent; the list of models says what holds, and the metrics of a request what it took."""
    source = as_source({"model": folder, "dtype": "float32"})
    models = {
        "auto": Config((source,)),
        "said": Config((source,), sampling={"temperature": 1.0}),
        "off": Config((source,), generation_config="off"),
    }
    with live(Catalog(models)) as running, running.http as http:
        listed = http.get("/v1/models").json()["data"]
        assert [each["generation_config"] for each in listed] == [NARROW, NARROW, {}]
        taken = {}
        for name, fields in (("auto", {}), ("auto", {"temperature": 1}), ("said", {}), ("off", {})):
            body = {"model": name, "prompt": PROMPT, "max_tokens": 2, "spec_decode_metrics": "summary", **fields}
            answer = http.post("/v1/completions", json=body).json()
            taken[name, *fields] = answer["metrics"]["collaboration"]["generation_config"]
        assert taken == {
            ("auto",): NARROW,
            ("auto", "temperature"): {"top_k": 1},
            ("said",): {"top_k": 1},
            ("off",): {},
        }
        echo = {"prompt": PROMPT, "max_tokens": 0, "echo": True, "logprobs": 0}
        logs = [
            http.post("/v1/completions", json={"model": name, **echo}).json()["choices"][0]["logprobs"]
            for name in ("auto", "off")
        ]
        assert logs[0] == logs[1]
