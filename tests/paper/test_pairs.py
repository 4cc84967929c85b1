"""Every pair of the CoS paper loads from its config at the vocabulary sizes of its checkpoints, and decodes exactly.

The models are random and tiny; rows of logits and tokenizers are as large as the real ones.
"""

import pytest
import torch

from tests import tiny
from tests.hf import hf_members, models
from tests.paper import pairs
from tests.paper.checkpoints import CHECKPOINTS
from tests.paper.pairs import Pair
from unisono import SamplingParams
from unisono.combine import as_combination
from unisono.members.base import Context, Work
from unisono.types import Result

pytestmark = pytest.mark.xdist_group("paper")  # one worker writes the stand-ins
PROMPT = "def f(x):"
TOKENS = 24


def decode(pair: Pair, temperature: float, schedule: str | None = None) -> Result:
    params = SamplingParams(max_tokens=TOKENS, temperature=temperature, seed=1)
    return pair.ensemble.generate([PROMPT], params, schedule=schedule)[0]


def test_there_is_a_config_for_every_pair():
    """Four weighted ensembles and three contrastive pairs."""
    assert len(pairs.FILES) == 7
    kinds = [str(pairs.read(name).combine).partition(":")[0] for name in pairs.FILES]
    assert sorted(kinds) == ["contrastive"] * 3 + ["weighted"] * 4


@pytest.mark.parametrize("name", pairs.FILES)
def test_configs_say_what_the_paper_says(name: str):
    """Equal weights, or mu = 0.1 with the expert first; T = 1; drafts of 1 or 5, the largest member's 1, three members' 1."""
    config = pairs.read(name)
    sizes = [CHECKPOINTS[source.model].billions for source in config.members]
    weighted = as_combination(None, len(sizes))
    expected = weighted if str(config.combine).startswith("weighted") else as_combination("contrastive:0.1", len(sizes))
    assert as_combination(config.combine, len(sizes)) == expected
    assert sizes == sorted(sizes, reverse=True)
    assert config.params == SamplingParams(temperature=1.0)
    drafts = [int(length) for length in config.schedule.removeprefix("cos:").split(",")]
    assert len(drafts) == len(sizes)
    assert drafts[0] == 1
    assert set(drafts[1:]) <= ({1, 5} if len(sizes) == 2 else {1})


def test_combination_and_schedule_are_those_of_the_file(pair: Pair):
    """What a result reports is what the file says."""
    result = decode(pair, 1.0)
    assert result.combination == as_combination(pair.config.combine, len(pair.config.members)).name
    assert result.schedule == pair.config.schedule
    assert pair.ensemble.names == [source.model.partition("/")[2] for source in pair.config.members]


def test_common_vocabulary_is_the_tokenizer(pair: Pair):
    """However many rows each member has, the common size is that of the tokenizer."""
    rows = [model.get_output_embeddings().weight.shape[0] for model in models(pair.ensemble)]
    assert rows == [checkpoint.rows for checkpoint in pair.checkpoints]
    size = len(pair.ensemble.tokenizer)
    assert size == pair.checkpoints[0].tokens <= min(rows)
    assert pair.ensemble.prompts.vocabulary.size == size
    assert pair.ensemble.prompts.vocabulary.forbidden == ()
    assert {member.vocabulary for member in pair.ensemble.members} == {size}


def test_padding_gets_no_mass(pair: Pair):
    """The members' own favourites are rows of padding; the combined law does not have them, and sums to one."""
    size = len(pair.ensemble.tokenizer)
    prompt = pair.ensemble.tokenizer.encode(PROMPT)
    logits = []
    for member, checkpoint in zip(hf_members(pair.ensemble), pair.checkpoints, strict=True):
        favourite = int(tiny.fresh_logits(member.model, prompt)[-1].argmax())
        assert (favourite >= size) == (checkpoint.rows > size)
        slot = member.open(Context(0))
        logits.append(member.score([Work(slot, tokens=prompt, keep=1)])[0].logits)
        member.close(slot)
    method = pair.ensemble.method()
    law = tiny.law(method.combination, logits)
    assert law.shape[-1] == size
    torch.testing.assert_close(law.sum(-1), torch.ones(1))


def test_padding_is_never_sampled(pair: Pair):
    """Not even from a law that is nearly flat, by any schedule."""
    size = len(pair.ensemble.tokenizer)
    for schedule in (None, "standard", "parallel", "speculative:5"):
        assert max(decode(pair, 5.0, schedule).token_ids) < size


def test_greedy_text_is_that_of_standard_decoding(pair: Pair):
    """Token for token in float32, with proposals both accepted and rejected, in varied text."""
    standard, found = decode(pair, 0.0, "standard"), decode(pair, 0.0)
    assert found.schedule.startswith("cos:")
    assert found.token_ids == standard.token_ids
    assert found.text == standard.text
    assert len(found.token_ids) == TOKENS
    assert len(set(found.token_ids)) >= 5
    assert 0 < found.stats.accepted < found.stats.verified
