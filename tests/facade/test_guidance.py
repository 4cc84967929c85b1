"""Guidance: one model, two prompts; held against two plain passes of transformers."""

import pytest
import torch

from tests import tiny
from tests.facade.one_line import one_line
from tests.hf import hf, models
from unisono import Ensemble, SamplingParams
from unisono.errors import RequestError
from unisono.text.prompts import Pair

PROMPT, NEGATIVE = "for i in range", "import os"


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """One model, listed twice."""
    model, _ = tiny.text_models()
    return Ensemble.load([model, model], "guidance:1.8", tokenizer=tiny.tokenizer())


def two_passes(ensemble: Ensemble, prompt: list[int], negative: list[int], count: int) -> list[int]:
    """As transformers' guidance_scale does it, token by token from scratch."""
    model = hf(ensemble).model
    tokens: list[int] = []
    for _ in range(count):
        with_prompt, without = (tiny.fresh_logits(model, [*start, *tokens])[-1] for start in (prompt, negative))
        with_prompt, without = with_prompt.log_softmax(-1), without.log_softmax(-1)
        tokens.append(int((without + 1.8 * (with_prompt - without)).argmax()))
    return tokens


@pytest.mark.parametrize("schedule", ["standard", "parallel", "speculative:3", "cos:2,1", "auto"])
@pytest.mark.parametrize("negative", [NEGATIVE, None])
def test_guidance_is_two_passes_of_one_model(ensemble: Ensemble, schedule: str, negative: str | None):
    """Without a negative prompt, the second pass begins at the prompt's last token."""
    prompt = ensemble.tokenizer.encode(PROMPT)
    other = ensemble.tokenizer.encode(negative) if negative else prompt[-1:]
    params = SamplingParams(max_tokens=24, temperature=0, ignore_eos=True, negative_prompt=negative)
    result = ensemble.generate(PROMPT, params, schedule=schedule)[0]
    assert list(result.token_ids) == two_passes(ensemble, prompt, other, 24)
    first, second = models(ensemble)
    assert first is second


def test_the_negative_prompt_matters(ensemble: Ensemble):
    texts = {
        ensemble.generate(PROMPT, SamplingParams(max_tokens=24, temperature=0, negative_prompt=negative))[0].token_ids
        for negative in (None, NEGATIVE, "def f(x)")
    }
    assert len(texts) == 3


def test_a_negative_prompt_without_use_is_refused(ensemble: Ensemble):
    params = SamplingParams(max_tokens=2, negative_prompt=NEGATIVE)
    message = one_line(RequestError, lambda: ensemble.generate(PROMPT, params, combine="weighted"))
    assert message == "negative_prompt has no use with weighted:0.5,0.5; use guidance or context_aware"
    assert "negative_prompt must be" in one_line(RequestError, lambda: SamplingParams(negative_prompt=""))


def test_log_probabilities_are_those_of_the_guided_law(ensemble: Ensemble):
    """The second pass sees the last token of the context only."""
    found = ensemble.logprobs(PROMPT, " x = 1")
    prepared = ensemble.prompts.prepare(Pair(PROMPT, " x = 1"))
    context, target = prepared.contexts[0].tokens, prepared.units
    model = hf(ensemble).model
    with_prompt = tiny.fresh_logits(model, [*context, *target])[len(context) - 1 : -1].log_softmax(-1)
    without = tiny.fresh_logits(model, [context[-1], *target])[:-1].log_softmax(-1)
    law = (without + 1.8 * (with_prompt - without)).log_softmax(-1)
    wanted = law.gather(-1, torch.tensor(target).unsqueeze(-1)).flatten()
    torch.testing.assert_close(torch.tensor(found.logprobs, dtype=law.dtype), wanted, atol=1e-4, rtol=0)
