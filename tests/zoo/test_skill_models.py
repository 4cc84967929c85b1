"""The skill models: what each is good at, that it is unsure where it is weak, and that together they know both halves."""

import json
from functools import cache

import pytest
from transformers import AutoTokenizer

from unisono import Ensemble, SamplingParams, zoo
from unisono.evals.forcing import forced
from unisono.evals.skills import HALVES, Item, items
from unisono.evals.tasks import ExactMatch
from unisono.warp import Warp
from zoo.skills import shares

NAMES = SPECIALISTS = ["skills-m", "skills-n"]


@cache
def ensemble() -> Ensemble:
    return Ensemble.load([f"zoo:{name}" for name in SPECIALISTS], dtype="float32")


@cache
def singles() -> list[Item]:
    return items(80, seed=11, pairs=0.0)


def accuracy(combination: str, chosen: list[Item]) -> float:
    scores = ExactMatch(chosen).run(ensemble(), combination, "standard").scores
    return sum(scores) / len(scores)


@pytest.mark.parametrize("index", [0, 1])
def test_a_specialist_knows_its_half_and_not_the_other(index: int):
    """On test exercises, which no training line holds."""
    own = HALVES[SPECIALISTS[index]]
    assert accuracy(f"only:{index}", [item for item in singles() if item.skills[0] in own]) > 0.75
    assert accuracy(f"only:{index}", [item for item in singles() if item.skills[0] not in own]) < 0.3


def test_together_they_know_both_halves():
    """Also where one prompt asks for a skill of each, which neither can do alone."""
    pairs = items(40, seed=12, pairs=1.0)
    alone = max(accuracy(f"only:{index}", pairs) for index in (0, 1))
    assert accuracy("weighted:0.5,0.5", pairs) > alone + 0.3


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
