"""The first mistakes of a new user get one line that says what to do."""

from pathlib import Path

import pytest

from unisono import Ensemble, config
from unisono.errors import ConfigurationError, MemberError
from unisono.server.errors import malformed
from unisono.server.openai.schema import ChatRequest
from unisono.server.settings import Settings
from unisono.tokens.vocabulary import common

pydantic = pytest.importorskip("pydantic")
MESSAGE = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compile: off", "compile is an option of a member"),
        ("dtype: float32", "dtype is an option of a member"),
        ("models: {}", "which only `unisono serve` takes"),
        ("verification: off", "must be a text, not: False; YAML reads on, off"),
        ("generation_config: on", "must be a text, not: True; YAML reads on, off"),
    ],
)
def test_a_config_file_says_where_a_key_belongs(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "pair.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        config.read(file)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MemberError, match=r"it has no config\.json"):
        Ensemble.load([str(tmp_path)])


def test_the_reason_behind_a_colon_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(MemberError, match="cannot be loaded from") as caught:
        Ensemble.load([str(tmp_path)])
    assert not str(caught.value).rstrip().endswith(":")
    assert "\n" not in str(caught.value)


def test_a_token_that_one_member_lacks_is_called_so() -> None:
    loaded = [Ensemble.load([name]) for name in ("zoo:code-s", "zoo:skills-s")]
    with pytest.raises(MemberError, match="against no token;"):
        common(["a", "b"], [each.tokenizer for each in loaded], [4096, 257])


def test_no_time_for_requests_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="timeout must be more than 0"):
        Settings(timeout=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": "hi"}, "messages: input should be a valid list"),
        (
            {"messages": [MESSAGE], "enable_thinking": False},
            "enable_thinking: unknown field; did you mean chat_template_kwargs?",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content.0.image_url: only texts are read; send parts of the type text alone (accepted: null)",
        ),
    ],
)
def test_a_wrong_field_is_told_once_and_with_the_remedy(fields: dict[str, object], message: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        ChatRequest.model_validate({"model": "zoo", **fields})
    assert malformed(caught.value.errors()).message == message
