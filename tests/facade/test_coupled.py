"""`coupled` on real architectures: a seed has one text, whatever proposes and whatever runs beside it."""

from typing import Any

import pytest

from tests import tiny
from unisono import Ensemble, SamplingParams, combine

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "repetition_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.2},
    {"logit_bias": {3: 2.0}, "min_p": 0.02, "top_k": 30, "logprobs": True},
    {"temperature": 0},
)
PARAMS = [SamplingParams(max_tokens=28, seed=seed, **kind) for seed, kind in enumerate(KINDS)]
PROMPTS = [[5, 1, 7], [3], [2, 2, 2, 9, 30, 41], [8, 150], [1, 2, 3, 4]]


def texts(ensemble: Ensemble, **method: Any) -> list[tuple[int, ...]]:
    """Each prompt alone."""
    return [
        ensemble.generate([prompt], params, **method)[0].token_ids
        for prompt, params in zip(PROMPTS, PARAMS, strict=True)
    ]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_text_of_standard(architecture: str):
    """Every schedule, alone and in a batch, gives the tokens of `standard`; proposals stood and fell."""
    ensemble = tiny.ensemble(tiny.models(architecture), combine=combine.weighted([0.6, 0.4]))
    wanted = texts(ensemble, schedule="standard", verification="token")
    for schedule in ("cos:2,3", "auto"):
        assert texts(ensemble, schedule=schedule, verification="coupled") == wanted
    results = ensemble.generate(PROMPTS, PARAMS, schedule="speculative:4", verification="coupled")
    assert [result.token_ids for result in results] == wanted
    assert {result.verification for result in results} == {"coupled"}
    stood, decided = (sum(getattr(result.stats, name) for result in results) for name in ("accepted", "verified"))
    assert 0 < stood < decided


@pytest.mark.parametrize(
    "combination", ["contrastive:0.3", "product", "only:0", "weighted:0.7,0.3,order=combine-first"]
)
def test_any_combination(combination: str):
    """As above for other combinations."""
    ensemble = tiny.ensemble(tiny.models("llama"), combine=combination)
    wanted = texts(ensemble, schedule="standard", verification="token")
    for schedule in ("standard", "parallel", "speculative:2", "cos:4,1"):
        assert texts(ensemble, schedule=schedule, verification="coupled") == wanted


def test_rows_of_both_kinds_share_a_batch():
    """Coupled and other rows draft in the same forward, each by its own noise."""
    ensemble = tiny.ensemble(tiny.models("llama"), combine=combine.weighted([0.6, 0.4]), schedule="cos:2,2")
    rules = ["coupled", "token", "coupled"]
    alone = [
        ensemble.generate([prompt], params, verification=rule)[0].token_ids
        for prompt, params, rule in zip(PROMPTS, PARAMS, rules, strict=False)
    ]
    streams = [
        ensemble.stream(prompt, params, verification=rule)
        for prompt, params, rule in zip(PROMPTS, PARAMS, rules, strict=False)
    ]
    pieces = list(zip(*streams, strict=True))
    assert [
        tuple(piece.commit.token for piece in column if piece.commit) for column in zip(*pieces, strict=True)
    ] == alone


def test_auto_with_a_seed_is_coupled():
    """The text of a seed must not depend on what is fast today; without one, or with a fixed schedule, it may be drawn."""
    ensemble = tiny.ensemble(tiny.models("llama"))
    seeded, free = SamplingParams(max_tokens=12, seed=3), SamplingParams(max_tokens=12)
    found = ensemble.generate([1, 2, 3], seeded)[0]
    assert found.verification == "coupled"
    assert found.token_ids == ensemble.generate([1, 2, 3], seeded, schedule="standard")[0].token_ids
    assert ensemble.generate([1, 2, 3], free)[0].verification != "coupled"
    assert ensemble.generate([1, 2, 3], seeded, schedule="cos:1,1")[0].verification != "coupled"
    assert ensemble.generate([1, 2, 3], seeded, verification="token")[0].verification == "token"
    greedy = SamplingParams(max_tokens=12, seed=3, temperature=0)
    assert ensemble.generate([1, 2, 3], greedy)[0].verification == "token"
