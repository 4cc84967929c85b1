"""Edits of logits: values against transformers' own processors, how often they are called, what is refused."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from tests import tiny
from tests.strategies import logits as any_logits
from unisono import Ensemble, RequestError, SamplingParams, combine
from unisono.sampling.logits_edits import EditedWarp, Edits
from unisono.sampling.warp import Warp

PROMPT, OUTPUT = [3, 5, 5, 8], [7, 5, 1]
PREFIXES = [OUTPUT[:1], OUTPUT[:2], OUTPUT]


def logits() -> Tensor:
    return torch.randn(len(PREFIXES), 12, generator=torch.Generator().manual_seed(1))


def by_transformers(processor: Any) -> Tensor:
    """Row by row, with the ids in front of each position."""
    rows = [
        processor(torch.tensor([PROMPT + prefix]), row.unsqueeze(0))
        for prefix, row in zip(PREFIXES, logits(), strict=True)
    ]
    return torch.cat(rows)


@pytest.mark.parametrize(
    ("edits", "processor"),
    [
        (Edits(repetition=1.4), RepetitionPenaltyLogitsProcessor(1.4)),
        (Edits(banned=((5, 1), (4,), (7, 5, 2))), NoBadWordsLogitsProcessor([[5, 1], [4], [7, 5, 2]], eos_token_id=11)),
        (Edits(min_tokens=3, ends=(2, 9)), MinNewTokensLengthLogitsProcessor(len(PROMPT), 3, torch.tensor([2, 9]))),
        (Edits(bias=dict.fromkeys((0, 6), -torch.inf)), SuppressTokensLogitsProcessor([0, 6])),
    ],
)
def test_edits_are_those_of_transformers(edits: Edits, processor: Any):
    """R18: each position sees the prompt, the output and the open proposals in front of it, no more and no less."""
    torch.testing.assert_close(edits(logits(), PROMPT, PREFIXES), by_transformers(processor))


def test_presence_and_frequency_count_the_output_only():
    """As OpenAI defines them: `l - presence * 1[c > 0] - frequency * c`, with c the token's count in the output."""
    found = Edits(presence=0.5, frequency=0.25)(logits(), PROMPT, [[5, 5, 7]] * 3)
    change = logits() - found
    assert change[0, 5] == pytest.approx(1.0)
    assert change[0, 7] == pytest.approx(0.75)
    assert change[0, [3, 8]].abs().max() == 0


def dense(edits: Edits, row: Tensor, prefix: list[int]) -> Tensor:
    """The penalties by counts over the whole vocabulary."""
    counts = torch.bincount(torch.tensor(prefix, dtype=torch.long), minlength=len(row))
    seen = (counts > 0) | (torch.bincount(torch.tensor(PROMPT), minlength=len(row)) > 0)
    punished = torch.where(row > 0, row / edits.repetition, row * edits.repetition)
    return torch.where(seen, punished, row) - edits.presence * (counts > 0) - edits.frequency * counts


@given(any_logits(3, 12), st.lists(st.integers(0, 11), max_size=30), st.sampled_from([0.7, 1.0, 1.3]))
def test_penalties_are_those_of_dense_counts(scores: Tensor, output: list[int], repetition: float):
    """Logits with ties, zeros and -inf, tokens that occur several times, in float64 and bfloat16."""
    edits = Edits(repetition=repetition, presence=0.5, frequency=0.25)
    prefixes = [output[:at] for at in (0, len(output) // 2, len(output))]
    wanted = torch.stack([dense(edits, row, prefix) for row, prefix in zip(scores, prefixes, strict=True)])
    assert torch.equal(edits(scores, PROMPT, prefixes), wanted)
    half = scores.bfloat16()
    assert edits(half, PROMPT, prefixes).dtype == torch.bfloat16


def test_bias_and_allowed_tokens_are_those_of_dense_vectors():
    bias = torch.zeros(12).index_put((torch.tensor([1, 5, 7]),), torch.tensor([2.0, -3.0, 0.5]))
    edits = Edits(bias={1: 2.0, 5: -3.0, 7: 0.5}, allowed=(5, 1, 2))
    wanted = (logits() + bias)[:, [1, 2, 5]]
    found = edits(logits(), PROMPT, PREFIXES)
    assert torch.equal(found[:, [1, 2, 5]], wanted)
    assert (found > -torch.inf).sum() == wanted.numel()


def test_edits_without_effect_copy_nothing():
    """Ends are banned only while the output is short, and a banned sequence only at its last token."""
    scores = logits()
    edits = Edits(min_tokens=1, ends=(3,), banned=((9, 2), (4, 4)))
    assert edits(scores, PROMPT, PREFIXES) is scores
    assert edits(scores, PROMPT, [[], [1], [9]]) is not scores


def test_prompt_tokens_beyond_the_logits_are_not_penalised():
    assert torch.equal(
        Edits(repetition=2.0)(logits(), [3, 12, 400], PREFIXES), Edits(repetition=2.0)(logits(), [3], PREFIXES)
    )


def test_masks_do_not_change_the_scores():
    """The mask of a constraint is applied to a copy of the scores, whether edits have made one or not."""
    masks = torch.arange(12).expand(3, -1) % 2 == 0
    for edits in (Edits(), Edits(bias={2: 1.0}), Edits(min_tokens=1, ends=(3,))):
        scores = logits()
        law = EditedWarp(Warp(), edits, PROMPT, PREFIXES, masks)(scores)
        assert torch.equal(scores, logits())
        assert torch.equal(law > 0, masks)


def test_the_argument_is_not_changed():
    """Scores are kept for later rounds."""
    before, kept = logits(), logits()
    Edits(bias={1: 2.0}, allowed=(1, 2), banned=((1,),), repetition=2.0)(before, PROMPT, PREFIXES)
    assert torch.equal(before, kept)


@pytest.mark.parametrize("schedule", ["standard", "parallel", "speculative:3", "cos:2,1"])
def test_processors_see_every_position_with_its_prefix(schedule: str):
    """R17: whatever the schedule, the text is that of a processor called with exactly the tokens in front."""
    ensemble = Ensemble.load(list(tiny.models("llama")), combine.weighted([0.6, 0.4], order="combine-first"))
    seen: list[list[int]] = []

    def nudge(ids: Tensor, scores: Tensor) -> Tensor:
        assert ids.shape[0] == scores.shape[0] == 1
        seen.append(ids[0].tolist())
        return scores + 2.0 * (torch.arange(scores.shape[-1]) % 7 == ids.shape[1] % 7)

    params = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True, logits_processors=[nudge])
    result = ensemble.generate([4, 9], params, schedule=schedule)[0]
    text = [4, 9, *result.token_ids]
    for length in range(2, len(text)):
        assert text[:length] in seen
    plain = ensemble.generate([4, 9], SamplingParams(max_tokens=20, temperature=0, ignore_eos=True))[0]
    assert plain.token_ids != result.token_ids
    if schedule == "standard":
        assert [each for each in seen if each != text[:2]] == [text[:length] for length in range(3, len(text))]


def test_bad_words_never_occur():
    """A word's tokens, alone and behind a space, at temperature 1 and 0."""
    ensemble = tiny.text_ensemble()
    for temperature in (0.0, 1.0):
        params = SamplingParams(max_tokens=60, temperature=temperature, seed=1, bad_words=["e", "a"], ignore_eos=True)
        result = ensemble.generate("the cat", params)[0]
        banned = {tuple(ensemble.tokenizer.encode(text, add_special_tokens=False)) for text in ("e", " e", "a", " a")}
        assert not {(token,) for token in result.token_ids} & banned


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"logit_bias": {5000: 1.0}}, "logit_bias"),
        ({"allowed_token_ids": [5000]}, "allowed_token_ids"),
        ({"allowed_token_ids": [1], "logit_bias": {1: -100}, "bad_words": ["x"]}, "bad_words"),
    ],
)
def test_what_names_an_unknown_token_is_refused(options: dict[str, Any], word: str):
    """Outside the vocabulary, or words without a tokenizer."""
    ensemble = Ensemble.load(list(tiny.models("llama")))
    with pytest.raises(RequestError, match=word):
        ensemble.generate([1, 2], SamplingParams(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 0}, {"repetition_penalty": -1}, {"presence_penalty": float("nan")}, {"n": 0},
        {"frequency_penalty": "1"}, {"logit_bias": {"a": 1}}, {"logit_bias": {1: float("inf")}}, {"logit_bias": [1]},
        {"allowed_token_ids": []}, {"allowed_token_ids": [-1]}, {"bad_words": [""]}, {"min_tokens": -1},
        {"min_tokens": 5, "max_tokens": 4}, {"logits_processors": [3]}, {"top_logprobs": 3},
        {"top_logprobs": -1, "logprobs": True}, {"logprobs_mode": "cooked"}, {"include_stop": 1}, {"prompt_logprobs": 1},
    ],
)  # fmt: skip
def test_values_out_of_range_name_their_field(options: dict[str, Any]):
    """One line that names the field and what it may be."""
    with pytest.raises(RequestError) as caught:
        SamplingParams(**options)
    assert next(iter(options)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_logprobs_of_output_top_and_prompt():
    """All are those of the combination at temperature 1; the processed ones are those of what tokens are drawn from."""
    ensemble = tiny.text_ensemble()
    params = SamplingParams(max_tokens=8, seed=2, top_k=5, logprobs=True, top_logprobs=3, prompt_logprobs=True)
    result = ensemble.generate("the cat sat", params)[0]
    assert result.logprobs is not None
    assert result.top_logprobs is not None
    assert result.prompt_logprobs is not None
    prompt = ensemble.tokenizer.encode("the cat sat")
    assert len(result.prompt_logprobs) == len(prompt)
    assert result.prompt_logprobs[0] is None
    for token, value, top in zip(result.token_ids, result.logprobs, result.top_logprobs, strict=True):
        assert len(top) == 3
        assert max(top.values()) >= value - 1e-5
        assert top.get(token, value) == pytest.approx(value, abs=1e-5)
    processed = ensemble.generate("the cat sat", SamplingParams(
        max_tokens=8, seed=2, top_k=1, logprobs=True, logprobs_mode="processed"
    ))[0]  # fmt: skip
    assert processed.logprobs is not None  # two members, each one-hot: one token for certain, or two at one half
    assert all(min(abs(value), abs(value + 0.6931472)) < 1e-6 for value in processed.logprobs)


def test_samples_of_one_seed_do_not_depend_on_their_number():
    """R28: sample i is the same for every n, alone or beside the others; samples differ."""
    ensemble = tiny.text_ensemble()
    three = ensemble.generate("the cat", SamplingParams(max_tokens=10, seed=3, n=3))
    one = ensemble.generate("the cat", SamplingParams(max_tokens=10, seed=3))
    assert [result.sample for result in three] == [0, 1, 2]
    assert three[0].token_ids == one[0].token_ids
    assert len({result.token_ids for result in three}) == 3
    with pytest.raises(RequestError, match="n must be 1 here"):
        ensemble.stream("the cat", SamplingParams(n=2))


@pytest.mark.parametrize("schedule", ["standard", "speculative:4", "cos:3,1"])
def test_min_tokens_and_include_stop(schedule: str):
    """No end before min_tokens, stop strings included; with include_stop the text ends with what stopped it."""
    ensemble = tiny.text_ensemble()
    plain = ensemble.generate(
        "the cat", SamplingParams(max_tokens=40, temperature=0, ignore_eos=True), schedule=schedule
    )[0]
    stop = plain.text[6:9]
    cut = ensemble.generate(
        "the cat",
        SamplingParams(max_tokens=40, temperature=0, ignore_eos=True, stop=stop, include_stop=True),
        schedule=schedule,
    )[0]
    assert cut.text == plain.text[: plain.text.index(stop) + len(stop)]
    late = ensemble.generate(
        "the cat",
        SamplingParams(max_tokens=40, temperature=0, ignore_eos=True, stop=stop, min_tokens=20),
        schedule=schedule,
    )[0]
    assert len(late.token_ids) >= 20
