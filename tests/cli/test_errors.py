"""Wrong input: one clear line on standard error, exit code 2, nothing on standard output."""

import json

import pytest

PAIR = ("-m", "zoo:code-m", "-m", "zoo:code-s")
BAD = [
    (("-m", "zoo:code-x"), "code-s"),
    (("-m", "no/such/model"), "no/such/model"),
    (("--combine", "weighted:1,2,3"), "3 weights for 2 members"),
    (("--combine", "weighted:-1,2"), "-1"),
    (("--combine", "weighted:0,0"), "not all 0"),
    (("--combine", "weighted:nan,1"), "nan"),
    (("--combine", "weighted:inf,1"), "inf"),
    (("--combine", "wieghted:1,2"), "did you mean 'weighted'"),
    (("--combine", "contrastive:nu=1"), "mu"),
    (("--schedule", "standart"), "did you mean 'standard'"),
    (("--schedule", "cos:0,1"), "1 or more"),
    (("--schedule", "cos:1"), "2 draft length"),
    (("--schedule", "cos:a,b"), "a,b"),
    (("--schedule", "speculative:0"), "1 or more"),
    (("--verification", "tokens"), "did you mean 'token'"),
    (("--dtype", "float31"), "float32"),
    (("--temperatur", "1"), "--temperature"),
    (("--temperature", "-1"), "temperature"),
    (("--temperature", "nan"), "temperature"),
    (("--temperature", "inf"), "temperature"),
    (("--temperature", "warm"), "--temperature"),
    (("--top-p", "0"), "top_p"),
    (("--top-p", "1.5"), "top_p"),
    (("--min-p", "2"), "min_p"),
    (("--top-k", "-1"), "top_k"),
    (("--max-tokens", "0"), "max_tokens"),
    (("--seed", "-1"), "seed"),
    (("--file", "no-such-file.txt"), "no-such-file.txt"),
    (("--config", "no-such-file.yaml"), "no-such-file.yaml"),
    (("--json", "--trace"), "--trace"),
    (("--logprobs",), "--json"),
]


def assert_refused(outcome, word: str) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("unisono: error: ")
    assert word in outcome.err


@pytest.mark.parametrize(("options", "word"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_a_bad_option_is_one_line(run, options, word):
    """It names what was wrong, with the nearest name or the range."""
    prompt = () if "--file" in options else ("x = 1",)
    assert_refused(run("generate", *prompt, *(() if "-m" in options else PAIR), *options), word)


@pytest.mark.parametrize(
    ("prompt", "word"),
    [("", "empty"), ("x = 1\n" * 2000, "context")],
    ids=["empty", "long"],
)
def test_a_bad_prompt_is_one_line(run, prompt, word):
    """Empty, or longer than the shortest context."""
    assert_refused(run("generate", prompt, *PAIR), word)


def test_a_prompt_that_is_no_text_is_one_line(run, tmp_path):
    """Bytes that are not UTF-8; an argument and a file at once; a folder."""
    (tmp_path / "prompt.bin").write_bytes(b"\xff\xfe")
    assert_refused(run("generate", "--file", str(tmp_path / "prompt.bin")), "UTF-8")
    assert_refused(run("generate", "x", "--file", str(tmp_path / "prompt.bin")), "not both")
    assert_refused(run("generate", "--file", str(tmp_path)), str(tmp_path))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("membrs: []", "did you mean 'members'"),
        ("sampling: {temprature: 1}", "did you mean 'temperature'"),
        ("members: [{model: zoo:code-s, dtyp: float32}]", "did you mean 'dtype'"),
        ("members: [{dtype: float32}]", "model"),
        ("members: zoo:code-s", "list"),
        ("members: [1", "YAML"),
        ("- a\n- b", "mapping"),
        ("combine: 3", "text"),
        ("sampling: {max_tokens: many}", "max_tokens"),
        ("sampling: 3", "mapping"),
    ],
)
def test_a_bad_config_is_one_line(run, tmp_path, text, word):
    """The message names the key, the nearest known one, and the file."""
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert_refused(run("generate", "x = 1", "--config", str(config)), word)


def test_a_broken_model_folder_is_one_line(run, tmp_path):
    """Empty, and with a config but no weights."""
    assert_refused(run("generate", "x", "-m", str(tmp_path)), str(tmp_path))
    config = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_attention_heads": 1, "num_key_value_heads": 1}))
    assert_refused(run("generate", "x", "-m", str(tmp_path)), str(tmp_path))


def test_an_unknown_command_is_one_line(run):
    """With the nearest one."""
    outcome = run("generat", "x")
    assert outcome.code == 2
    assert "generate" in outcome.err


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("-m", "code-m"), "did you mean 'zoo:code-m'"),
        (("-m", "./no-such-folder"), "no folder './no-such-folder'"),
        (("-m", ""), "a member is a name"),
        (("--combine", ""), "unknown combination"),
        (("--schedule", ""), "unknown schedule"),
        (("--verification", ""), "unknown verification"),
        (("--device", ""), "unknown device"),
        (("--device", "gpu"), "available: cpu, cuda"),
        (("--device", "cuda"), "not available"),
        (("--schedule", "cos"), "cos:1,1"),
        (("--combine", "no_such_module:law"), "no module of that name"),
        (("--chat", "--file", "chat.json"), "looks like JSON"),
    ],
)
def test_more_bad_options(run, tmp_path, monkeypatch, options, word):
    """Empty values are values, and a near miss is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.json").write_text('[{"role": "user"},]')
    if word == "not available":
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    prompt = () if "--file" in options else ("x = 1",)
    assert_refused(run("generate", *prompt, *(() if "-m" in options else PAIR), *options), word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("members: 5", "list"),
        ("members: false", "list"),
        ("[]", "mapping"),
        ("members: [5]", "not: 5"),
        ("members: [{model: zoo:code-m, tokenizer: foo}]", "tokenizer"),
        ("members: [{model: zoo:code-m, trust_remote_code: 'no'}]", "true or false"),
        ("members: [{model: zoo:code-m, device: 3}]", "device"),
        ("members: [{model: zoo:code-m, quantization: 8bit}]", "quantization"),
        ("combine: weighted\ncombine: product", "twice"),
        ("sampling: {temperature: 1e-1}", "a finite number"),
        ("sampling: {logprobs: true}", "--json"),
    ],
)
def test_more_bad_configs(run, tmp_path, text, word):
    """Wrong kinds, keys that stand twice, options that would be ignored."""
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert_refused(run("generate", "x = 1", "--config", str(config)), word)


def test_no_arguments_show_the_help(run):
    """And nothing on standard error."""
    outcome = run()
    assert "generate" in outcome.out
    assert outcome.err == ""
