"""lm-evaluation-harness' `local-completions` against the server: the combined law, however the harness tokenizes."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests import tiny
from tests.server.live import KEY, MESSAGES, Live, live
from unisono import SamplingParams
from unisono.config import Config
from unisono.members.source import Source
from unisono.server.catalog import Catalog, single

PAIRS = [("def f(x):", "\n    return"), ("for i in", " range(10)"), ("The quick", " brown fox"), ("héllo", " wörld")]


def served(start: bool) -> Catalog:
    """One tokenizer that puts `<s>` before a text, or one that does not."""
    tokens, members = tiny.tokenizer(start=start), tiny.text_models()
    sources = [Source(model=each, tokenizer=tokens, name=name) for each, name in zip(members, "ab", strict=True)]
    return single(Config(tuple(sources), "weighted:0.7,0.3", "cos:1,1"), "pair").with_members_alone()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "begins"])
def pair(request):
    with live(served(request.param)) as own:
        yield own


def ask(own: Live, method: str, path: str, body: Any = None) -> Any:
    with own.http as client:
        return client.request(method, path, json=body)


def test_tokenizer_info_in_vllms_shape(pair):
    tokens = pair.ensemble().tokenizer
    found = ask(pair, "GET", "/tokenizer_info").json()
    assert found == ask(pair, "GET", "/tokenizer_info?model=a").json()
    assert (found["bos_token"], found["eos_token"], found["pad_token"]) == ("<s>", "</s>", None)
    assert found["add_bos_token"] is (tokens.encode("a")[0] == 0)
    assert found["chat_template"] == tokens.chat_template
    assert found["model_max_length"] == tiny.CONTEXT


def test_token_endpoints_without_a_model(pair):
    """As lm-evaluation-harness asks: no model is named."""
    ids = ask(pair, "POST", "/tokenize", {"prompt": "for i in", "add_special_tokens": False}).json()["tokens"]
    assert ask(pair, "POST", "/detokenize", {"tokens": ids}).json()["prompt"] == "for i in"


def test_a_model_has_to_be_named_where_tokenizers_differ():
    plain, begins = served(False).models["a"], served(True).models["a"]
    with live(Catalog({"plain": plain, "begins": begins})) as own:
        for method, path, body in (("GET", "/tokenizer_info", None), ("POST", "/tokenize", {"prompt": "a"})):
            answer = ask(own, method, path, body)
            assert answer.status_code == 400
            assert "plain, begins" in answer.json()["error"]["message"]
        assert ask(own, "GET", "/tokenizer_info?model=begins").json()["add_bos_token"]
        assert ask(own, "GET", "/tokenizer_info?model=none").status_code == 404


def test_echo_lists_the_tokens_of_the_text(pair):
    """A beginning that the tokenizer adds is read and not listed; one that the client writes is both."""
    tokenizer = pair.ensemble().tokenizer
    text = "for i in range"
    for prompt in (text, tokenizer.encode(text), [0, *tokenizer.encode(text, add_special_tokens=False)]):
        body = {"model": "pair", "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 0}
        (choice,) = ask(pair, "POST", "/v1/completions", body).json()["choices"]
        logs = choice["logprobs"]
        assert "".join(logs["tokens"]) == choice["text"]
        assert logs["text_offset"][-1] + len(logs["tokens"][-1]) == len(choice["text"])
        added = isinstance(prompt, str) and tokenizer.encode(text)[0] == 0
        assert (logs["token_logprobs"][0] is None) is not added
        assert None not in logs["token_logprobs"][1:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["remote", "huggingface"])
@pytest.mark.parametrize("tokenized", [True, False])
def test_loglikelihoods_are_the_combined_ones(pair, tmp_path, monkeypatch, backend, tokenized):
    """With ids the harness has to add the beginning itself, which its remote tokenizer cannot; with texts the server does."""
    models = pytest.importorskip("lm_eval.models.openai_completions", reason="lm-evaluation-harness is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    tokenizer = pair.ensemble().tokenizer
    begins = tokenizer.encode("a")[0] == 0
    tokenizer.save_pretrained(tmp_path)
    options: dict[str, Any] = {} if backend == "remote" else {"tokenizer": str(tmp_path), "tokenizer_backend": backend}
    if backend == "huggingface" and tokenized:
        options["add_bos_token"] = begins
    url = f"{pair.url}/v1/completions"
    model = models.LocalCompletionsAPI(
        model="pair", base_url=url, tokenized_requests=tokenized, max_retries=1, **options
    )
    assert model.tokenizer_backend == backend
    found = model.loglikelihood([SimpleNamespace(args=each) for each in PAIRS])
    own = [pair.ensemble().logprobs(*each) for each in PAIRS]
    unbegun = backend == "remote" and tokenized and begins
    for (value, greedy), score in zip(found, own, strict=True):
        assert (value == pytest.approx(score.total, abs=1e-3)) is not unbegun
        assert unbegun or greedy == score.is_greedy
    if backend == "huggingface" and not begins:  # else the harness puts two beginnings before a text, or another token
        rolling = model.loglikelihood_rolling([SimpleNamespace(args=("for i in range(10)",))])
        assert rolling == pytest.approx([pair.ensemble().logprobs("", "for i in range(10)").total], abs=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_chats_are_those_of_the_library(pair):
    models = pytest.importorskip("lm_eval.models.openai_completions", reason="lm-evaluation-harness is not installed")
    api_models = pytest.importorskip("lm_eval.models.api_models")
    model = models.LocalChatCompletion(model="pair", base_url=f"{pair.url}/v1/chat/completions", max_retries=1)
    chat = model.apply_chat_template(MESSAGES)
    assert isinstance(chat, api_models.JsonChatStr)
    (text,) = model.generate_until(
        [SimpleNamespace(args=(chat, {"until": ["zz"], "max_gen_toks": 8, "do_sample": False}))]
    )
    ensemble = pair.ensemble()
    params = SamplingParams(max_tokens=8, temperature=0, stop="zz")
    assert text == ensemble.generate(ensemble.encode_chat(MESSAGES), params)[0].text
