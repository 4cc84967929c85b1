"""`unisono members`."""

import json
import shutil

from tests.members.toy_backend import toys
from unisono import zoo
from unisono.members import backends


def test_without_members_the_bundled_ones_are_listed(run):
    """Each with its size, and that they can be combined."""
    outcome = run("members")
    assert outcome.code == 0
    assert all(f"zoo:{name}" in outcome.out for name in zoo.names())
    assert "can be combined" in outcome.out


def test_members_with_different_vocabularies_are_told_apart(run, tmp_path):
    """Exit code 1, and the first differing tokens."""
    shutil.copytree(zoo.path("code-s"), tmp_path / "other")
    file = tmp_path / "other/tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = (next(token for token, index in vocabulary.items() if index == wanted) for wanted in (300, 301))
    vocabulary[first], vocabulary[second] = 301, 300
    file.write_text(json.dumps(tokenizer))
    outcome = run("members", "-m", "zoo:code-m", "-m", str(tmp_path / "other"))
    assert outcome.code == 1
    assert "cannot be combined" in outcome.out
    assert "id 300" in outcome.out


def test_a_member_that_does_not_exist_is_an_error(run):
    """Exit code 2: there is nothing to combine."""
    outcome = run("members", "-m", "no/such/model")
    assert outcome.code == 2
    assert "no/such/model" in outcome.err


def test_a_member_that_cannot_be_loaded_beside_a_good_one_is_an_error(run):
    """Only different vocabularies are an answer."""
    outcome = run("members", "-m", "zoo:code-m", "-m", "zoo:code-x")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "code-x" in outcome.err


def test_members_of_any_backend_are_listed(run, monkeypatch):
    """The columns are the facts that some member tells."""
    monkeypatch.setattr(backends, "_registered", [])
    toys()
    outcome = run("members", "toy:3", "-m", "toy:3")
    assert outcome.code == 0
    heading, first, *_ = outcome.out.splitlines()
    assert heading.split() == ["member", "parameters", "architecture"]
    assert first.split() == ["toy:3", "0.0M", "table"]
    assert "can be combined" in outcome.out
