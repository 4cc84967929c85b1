"""`unisono generate` on the bundled models."""

import json

import pytest

GREEDY = ("--temperature", "0", "--dtype", "float32", "--max-tokens", "40")
PROMPT = "def read_csv(path):\n"
THREE = ("-m", "zoo:code-s", "-m", "zoo:code-m", "-m", "zoo:code-n")


def test_every_schedule_prints_the_same_greedy_text(run):
    """At temperature 0 in float32 the schedule changes the speed, never the text; the prompt alone is enough."""
    texts = {
        schedule: run("generate", PROMPT, *GREEDY, "--schedule", schedule).out
        for schedule in ("standard", "parallel", "speculative:4", "cos:4,1", "cos:1,1")
    }
    assert len(texts["standard"]) > 20
    assert set(texts.values()) == {texts["standard"]}


def test_three_members_print_the_same_greedy_text(run):
    """The same for three members and the n-member framework."""
    standard = run("generate", PROMPT, *THREE, *GREEDY, "--schedule", "standard")
    assert standard.code == 0
    assert run("generate", PROMPT, *THREE, *GREEDY, "--schedule", "cos:3,2,1").out == standard.out


def test_the_line_under_the_text_says_what_it_cost(run):
    """Piped text stays clean: the summary goes to standard error."""
    outcome = run("generate", PROMPT, *GREEDY)
    for word in ("40 tokens", "tokens/s", "acceptance", "forwards", "code-m", "code-n"):
        assert word in outcome.err
    assert "tokens/s" not in outcome.out


def test_json_prints_one_object_with_provenance(run):
    """Text, ids, the origin of each token and the statistics agree with each other."""
    outcome = run("generate", PROMPT, "--json", "--logprobs", "--seed", "5", "--max-tokens", "24", "--ignore-eos")
    result = json.loads(outcome.out)
    assert len(result["token_ids"]) == len(result["tokens"]) == result["stats"]["tokens"] == 24
    assert {token["origin"] for token in result["tokens"]} <= {"accepted", "redrawn", "drawn"}
    members = [*result["members"], None]  # nobody: it was looked up in the text
    assert all(token["member"] in members for token in result["tokens"] if token["origin"] != "drawn")
    assert all(token["logprob"] < 0 for token in result["tokens"])
    assert result["seed"] == 5
    assert result["finish_reason"] == "length"


def test_the_reported_seed_repeats_the_text(run):
    """Without --seed a fresh one is drawn and reported; giving it and the reported method again gives the text again."""
    options = ("--json", "--dtype", "float32", "--max-tokens", "16", "--schedule", "cos:1,1")
    first = json.loads(run("generate", PROMPT, *options).out)
    names = ("combination", "schedule", "verification")
    method = [part for name in names for part in (f"--{name.replace('combination', 'combine')}", first[name])]
    again = json.loads(run("generate", PROMPT, *options, *method, "--seed", str(first["seed"])).out)
    assert again["token_ids"] == first["token_ids"]


def test_the_prompt_comes_from_argument_file_or_standard_input(run, tmp_path):
    """All three ways are one."""
    (tmp_path / "prompt.txt").write_text(PROMPT)
    texts = [
        run("generate", PROMPT, *GREEDY).out,
        run("generate", "--file", str(tmp_path / "prompt.txt"), *GREEDY).out,
        run("generate", *GREEDY, stdin=PROMPT.encode()).out,
        run("generate", "-", *GREEDY, stdin=PROMPT.encode()).out,
    ]
    assert len(set(texts)) == 1


def test_chat_takes_a_message_or_a_list_of_messages(run):
    """A plain prompt is one user message."""
    messages = json.dumps([{"role": "user", "content": "sort a list"}])
    plain = run("generate", "--chat", "sort a list", *GREEDY)
    assert plain.code == 0
    assert run("generate", "--chat", messages, *GREEDY).out == plain.out
    assert run("generate", "sort a list", *GREEDY).out != plain.out


def test_trace_shows_who_proposed_each_token(run):
    """Without colours every token is preceded by its member's number."""
    outcome = run("generate", PROMPT, "--trace", "--max-tokens", "24", "--seed", "1", "--ignore-eos")
    body = outcome.out.split("\n", 1)[1]
    assert "redrawn" in outcome.out.split("\n", 1)[0]
    assert "[0]" in body
    assert "[1]" in body
    assert "tokens/s" in body


def test_stop_strings_end_the_text_and_are_not_shown(run):
    """Repeated --stop."""
    outcome = run("generate", PROMPT, *GREEDY, "--stop", "\n", "--stop", "zzz")
    assert outcome.out.count("\n") <= 1
    assert "stop" in outcome.err


def test_a_config_file_sets_what_options_do_not(run, tmp_path):
    """Members, combination, schedule and sampling from YAML; an option goes before it."""
    config = tmp_path / "collaboration.yaml"
    config.write_text(
        "members:\n  - zoo:code-m\n  - {model: zoo:code-s, dtype: float32}\ncombine: contrastive:0.2\n"
        "schedule: cos:1,2\nsampling: {max_tokens: 8, seed: 3, ignore_eos: true}\n"
    )
    result = json.loads(run("generate", PROMPT, "--config", str(config), "--json", "--max-tokens", "9").out)
    assert result["members"] == ["code-m", "code-s"]
    assert (result["combination"], result["schedule"], result["seed"]) == ("contrastive:0.2", "cos:1,2", 3)
    assert len(result["token_ids"]) == 9


def test_a_function_beside_the_user_is_a_combination(run, tmp_path, monkeypatch):
    """`module:function` finds modules in the working directory."""
    (tmp_path / "my_laws.py").write_text("def first(logits, warp):\n    return warp(logits[0])\n")
    monkeypatch.chdir(tmp_path)
    result = json.loads(run("generate", PROMPT, "--json", *GREEDY, "--combine", "my_laws:first").out)
    only = json.loads(run("generate", PROMPT, "--json", *GREEDY, "--combine", "only:0").out)
    assert result["token_ids"] == only["token_ids"]


@pytest.mark.parametrize("module", ["unisono", "unisono.cli"])
def test_the_module_is_the_command(module):
    """`python -m unisono` works where scripts are not on the path."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "generate" in done.stdout


@pytest.mark.parametrize("asked", [False, True])
def test_deterministic_reaches_every_member(run, monkeypatch, asked):
    """With the option each member scores its rows apart; without it none does."""
    isolated = []
    monkeypatch.setattr("unisono.members.hf.member.HFMember.isolate", lambda member: isolated.append(member.name))
    found = run("generate", PROMPT, *GREEDY, *(["--deterministic"] if asked else []))
    assert found.code == 0, found.err
    assert isolated == (["code-m", "code-n"] if asked else [])
