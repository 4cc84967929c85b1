"""Greedy text does not depend on the schedule: real architectures, two and three members, token for token.

In float32. The members agree on a good half of the positions, so every case sees acceptances and rejections.
"""

import pytest

from tests import tiny
from unisono import Ensemble, SamplingParams
from unisono.text.prompts import Prompt
from unisono.types import Result

PROMPT = [5, 17, 33, 190, 2]
ZOO = ["zoo:code-s", "zoo:code-m", "zoo:code-n"]
ZOO_PROMPT = "def read_lines(path):\n    "


def decode(ensemble: Ensemble, schedule: str, prompt: Prompt = PROMPT) -> Result:
    (result,) = ensemble.generate([prompt], tiny.GREEDY, schedule=schedule)
    return result


def assert_same_text(found: Result, standard: Result) -> None:
    assert found.token_ids == standard.token_ids
    assert found.finish_reason == standard.finish_reason


def assert_both_outcomes(result: Result) -> None:
    """Some proposals were accepted and some rejected, and nearly all tokens came from decided proposals."""
    assert 0 < result.stats.accepted < result.stats.verified
    assert any(commit.origin == "redrawn" for commit in result.commits)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_two_members_write_the_same_under_every_schedule(architecture: str):
    """Every schedule repeats `standard`, which is varied text of 64 tokens, beyond any sliding window."""
    ensemble = tiny.ensemble(tiny.models(architecture))
    standard = decode(ensemble, "standard")
    assert len(standard.token_ids) == 64
    assert len(set(standard.token_ids)) >= 8
    for schedule in tiny.SPECULATIVE:
        result = decode(ensemble, schedule)
        assert_same_text(result, standard)
        if schedule != "parallel":
            assert_both_outcomes(result)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_three_members_write_the_same_under_cos(architecture: str):
    """With three members that all propose, `cos` repeats `standard`, and each member has a token accepted."""
    ensemble = tiny.ensemble(tiny.models(architecture, 3), combine="weighted:0.4,0.3,0.3")
    result = decode(ensemble, "cos:3,2,1")
    assert_same_text(result, decode(ensemble, "standard"))
    assert_both_outcomes(result)
    assert all(member.accepted > 0 for member in result.stats.members)


@pytest.mark.parametrize("combination", ["contrastive:0.3", "product:1,0.5", "only:0", "contrastive_masked:0.1,0.5"])
@pytest.mark.parametrize("architecture", ["mistral", "gemma3", "gpt2"])
def test_other_combinations_write_the_same(architecture: str, combination: str):
    """The schedule does not matter for combinations of logits and for plain speculative decoding either."""
    ensemble = tiny.ensemble(tiny.models(architecture), combine=combination)
    standard = decode(ensemble, "standard")
    for schedule in ("speculative:4", "cos:2,3") if combination != "only:0" else ("speculative:4",):
        result = decode(ensemble, schedule)
        assert_same_text(result, standard)
        assert_both_outcomes(result)


def test_members_of_different_architectures_write_the_same():
    """Members need not be of one kind: a Gemma 3 with its windows, a GPT-2 with learned positions and a Mixtral."""
    members = [tiny.models(architecture)[0] for architecture in ("gemma3", "gpt2", "mixtral")]
    ensemble = tiny.ensemble(members)
    result = decode(ensemble, "cos:3,2,1")
    assert_same_text(result, decode(ensemble, "standard"))
    assert_both_outcomes(result)


def test_greedy_text_is_that_of_transformers():
    """One member alone writes what transformers' own greedy generation writes."""
    for architecture in tiny.ARCHITECTURES:
        model = tiny.models(architecture)[0]
        result = decode(tiny.ensemble([model]), "standard")
        assert list(result.token_ids) == tiny.transformers_greedy(model, PROMPT, 64), architecture


@pytest.mark.parametrize("schedule", ["parallel", "speculative:4", "cos:3,2,1"])
def test_the_zoo_writes_the_same(schedule: str):
    """The three bundled models, all of them proposing, repeat `standard` on real text."""
    ensemble = Ensemble.load(ZOO, dtype="float32")
    params = SamplingParams(max_tokens=64, temperature=0, ignore_eos=True)
    (standard,) = ensemble.generate([ZOO_PROMPT], params, schedule="standard")
    (result,) = ensemble.generate([ZOO_PROMPT], params, schedule=schedule)
    assert len(standard.token_ids) == 64
    assert_same_text(result, standard)
    assert result.text == standard.text
    if schedule != "parallel":
        assert_both_outcomes(result)
