"""A draft model and the text as proposers, through the facade: the same text, counted apart."""

import dataclasses

import pytest

from tests import tiny
from unisono import Ensemble, SamplingParams, combine
from unisono.cli.loading import load_ensemble
from unisono.cli.options.load import LoadOptions, MethodOptions, SourceOptions
from unisono.config import Config, from_mapping
from unisono.errors import ConfigurationError, MemberError
from unisono.members.backends import as_source

PROMPTS = [[1, 2, 3, 4, 1, 2, 3], [5, 6, 7]]
GREEDY = SamplingParams(max_tokens=24, temperature=0, ignore_eos=True)


def drafted(**options):
    """Two members, and a third that only proposes."""
    *members, draft = tiny.models("llama", 3)
    return tiny.ensemble(members, combine=combine.weighted([0.6, 0.4]), draft={"model": draft}, **options)


@pytest.mark.parametrize("schedule", ["speculative:3", "cos:1,1,2", "lookup:4", "auto"])
def test_the_text_is_that_of_the_members_alone(schedule: str):
    """At temperature 0, and with a seed under `coupled`."""
    alone, ensemble = tiny.ensemble(tiny.models("llama", 3)[:2], combine=combine.weighted([0.6, 0.4])), drafted()
    sampled = dataclasses.replace(GREEDY, temperature=1.0, seed=5)
    for params, rule in ((GREEDY, "token"), (sampled, "coupled")):
        wanted = alone.generate(PROMPTS, params, schedule="standard", verification="token")
        found = ensemble.generate(PROMPTS, params, schedule=schedule, verification=rule)
        assert [each.token_ids for each in found] == [each.token_ids for each in wanted]


def test_it_proposes_and_counts_for_itself():
    """It is the default proposer, whatever its size, and stands last among the members."""
    result = drafted().generate(PROMPTS, GREEDY, schedule="speculative:3")[0]
    proposed = [member.proposed for member in result.stats.members]
    assert proposed[2] > 8
    assert proposed[:2] == [0, 0]


def test_log_probabilities_do_not_ask_it():
    """Neither those of a continuation nor those of generated tokens."""
    alone, ensemble = tiny.ensemble(tiny.models("llama", 3)[:2], combine=combine.weighted([0.6, 0.4])), drafted()
    params = SamplingParams(max_tokens=8, temperature=0, logprobs=True, prompt_logprobs=True)
    mine, theirs = (each.generate(PROMPTS[0], params, schedule="standard")[0] for each in (ensemble, alone))
    assert mine.logprobs == pytest.approx(theirs.logprobs)
    assert (mine.prompt_logprobs or ())[1:] == pytest.approx((theirs.prompt_logprobs or ())[1:])


def test_draft_lengths_are_those_of_all_members():
    """The draft model's is the last one."""
    with pytest.raises(ConfigurationError, match="3 draft lengths"):
        drafted(schedule="cos:1,1")


def test_a_draft_model_must_know_the_tokens():
    """It may not take tokens from the members."""
    members = [{"model": model, "tokenizer": tiny.tokenizer()} for model in tiny.text_models()]
    longer = tiny.with_merges("a+b")
    wide = [
        {"model": tiny.build("llama", vocab_size=len(longer)), "tokenizer": longer, "name": f"wide-{index}"}
        for index in range(2)
    ]
    with pytest.raises(MemberError):
        Ensemble.load(wide, draft=members[0])


def test_configs_and_commands_name_it():
    """As `draft:` in a file, and as `--draft`, which goes before the file."""
    assert from_mapping({"members": ["zoo:code-m"], "draft": "zoo:code-s"}).draft == as_source("zoo:code-s")
    config = Config(members=(as_source("zoo:code-s"),), draft=as_source("zoo:code-n"))
    assert load_ensemble(LoadOptions(), config).names == ["code-s", "code-n"]
    asked = LoadOptions(method=MethodOptions(draft="zoo:code-m"))
    assert load_ensemble(asked, config).names == ["code-s", "code-m"]


def test_an_option_of_the_command_line_goes_before_the_configs_draft():
    """As it does for members."""
    content = {"members": ["zoo:code-s"], "draft": {"model": "zoo:code-n", "dtype": "bfloat16"}}
    asked = LoadOptions(source=SourceOptions(dtype="float32"))
    ensemble = load_ensemble(asked, from_mapping(content))
    assert [member.facts["dtype"] for member in ensemble.members] == ["float32", "float32"]


def test_a_drafts_own_prompt_does_not_keep_log_probabilities_of_the_prompt_away():
    """Only members of the combination have to read the same prompt."""
    draft = {"model": "zoo:code-s", "prompt": "# short\n{prompt}"}
    ensemble = Ensemble.load(["zoo:code-n"], draft=draft, dtype="float32")
    params = SamplingParams(max_tokens=4, prompt_logprobs=True, seed=1)
    alone = Ensemble.load(["zoo:code-n"], dtype="float32").generate("def f(x):", params, schedule="standard")[0]
    found = ensemble.generate("def f(x):", params, schedule="standard")[0]
    assert found.prompt_logprobs == pytest.approx(alone.prompt_logprobs)
