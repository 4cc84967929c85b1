"""The skill models: what each is good at, that it is unsure where it is weak, and that together they know both halves.

The items are fixed and the models greedy, so these tests always give the same answer for the same weights. Weights that
are trained again are judged by bounds: a model whose true accuracy is the one claimed fails with probability 1e-9.
"""

import json
import math
from functools import cache

import pytest
from transformers import AutoTokenizer

from unisono import Ensemble, SamplingParams, zoo
from unisono.evals.likelihood import forced
from unisono.evals.skills import HALVES, Item, items
from unisono.evals.tasks import ExactMatch
from unisono.sampling.warp import Warp
from zoo.skills import shares

SPECIALISTS = ["skills-m", "skills-n"]
NAMES = [*SPECIALISTS, "skills-s"]
FALSE_ALARM = 1e-9


@cache
def ensemble() -> Ensemble:
    return Ensemble.load([f"zoo:{name}" for name in NAMES], dtype="float32")


@cache
def singles() -> list[Item]:
    return items(320, seed=11, pairs=0.0)


def chance(count: int, share: float, successes: int) -> float:
    """That `count` independent tries give so many successes or fewer."""
    return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(successes + 1))


def at_least(share: float, right: int, count: int) -> bool:
    """Whether so many right answers agree with a true accuracy of `share` or more."""
    return chance(count, share, right) > FALSE_ALARM


def at_most(share: float, right: int, count: int) -> bool:
    """Whether so many right answers agree with a true accuracy of `share` or less."""
    return chance(count, 1 - share, count - right) > FALSE_ALARM


def right(combination: str, chosen: list[Item]) -> int:
    return int(sum(ExactMatch(chosen).run(ensemble(), combination, "standard").scores))


def test_the_bounds():
    """Of 160 items: four of five right in truth is at least 95 seen; one in ten at most 43."""
    assert [at_least(0.8, 94, 160), at_least(0.8, 95, 160)] == [False, True]
    assert [at_most(0.1, 43, 160), at_most(0.1, 44, 160)] == [True, False]


@pytest.mark.parametrize("index", [0, 1])
def test_a_specialist_knows_its_half_and_not_the_other(index: int):
    """Four of five of its own half, one in ten of the other at most; on test exercises, which no training line holds."""
    own = HALVES[SPECIALISTS[index]]
    inside = [item for item in singles() if item.skills[0] in own]
    outside = [item for item in singles() if item.skills[0] not in own]
    assert at_least(0.8, right(f"only:{index}", inside), len(inside))
    assert at_most(0.1, right(f"only:{index}", outside), len(outside))


def test_the_generalist_is_mediocre_at_all():
    """Between one in twenty and two in three, and of each half at least one in twenty."""
    assert at_most(2 / 3, right("only:2", singles()), len(singles()))
    for own in HALVES.values():
        half = [item for item in singles() if item.skills[0] in own]
        assert at_least(0.05, right("only:2", half), len(half))
        assert right("only:2", half) > 0


def test_together_they_know_both_halves():
    """Also where one prompt asks for a skill of each: half of them in truth, of which one alone gets one in twenty."""
    pairs = items(160, seed=12, pairs=1.0)
    for index in range(len(NAMES) - 1):
        assert at_most(0.05, right(f"only:{index}", pairs), len(pairs))
    fused = right("weighted:0.5,0.5,0", pairs)
    assert at_least(0.5, fused, len(pairs))
    assert not at_most(0.05, fused, len(pairs))


@pytest.mark.parametrize("index", [0, 1])
def test_a_specialist_is_unsure_where_it_is_weak(index: int):
    """Mean probability of its top token where that is wrong, and in its own half."""
    wrong, own = [], []
    for item in singles():
        tokens, logits = forced(ensemble(), item.prompt, item.answer)
        top = Warp()(logits[index]).max(-1)
        if item.skills[0] in HALVES[SPECIALISTS[index]]:
            own += top.values.tolist()
        else:
            wrong += [v for v, y, x in zip(top.values.tolist(), top.indices.tolist(), tokens, strict=True) if y != x]
    assert sum(own) / len(own) > 0.9
    assert sum(wrong) / len(wrong) < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_the_tokens_and_a_line_ends_the_answer(name: str):
    tokenizer = AutoTokenizer.from_pretrained(zoo.path(name), local_files_only=True)
    assert len(tokenizer) == 257
    text = "\nsort cab = abc\n\té漢"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text.encode())
    generation = json.loads((zoo.path(name) / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [tokenizer.eos_token_id, tokenizer.encode("\n")[0]]


def test_a_chat_is_an_exercise():
    params = SamplingParams(temperature=0)
    assert ensemble().chat([{"role": "user", "content": "sort cab ="}], params, combine="only:0").text == " abc"


def test_specialists_read_little_of_the_other_half():
    for name in SPECIALISTS:
        own = sum(share for skill, share in shares(name).items() if skill in HALVES[name])
        assert own > 0.999
        assert sum(shares(name).values()) == pytest.approx(1)
    assert len(set(shares("skills-s").values())) == 1
