"""Skills: answers are right, splits never share an exercise, items depend on the seed alone."""

from itertools import islice
from random import Random

import pytest

from unisono.evals.skills import HALVES, LETTERS, SKILLS, exercise, items, split_of
from zoo.skills import lines

BY_HAND = {
    "reverse": ("abca", "acba"),
    "sort": ("caba", "aabc"),
    "unique": ("abacb", "abc"),
    "count": ("b abbcb", "3"),
    "shift": ("abl", "bca"),
    "add": ("95 26", "121"),
    "rotate": ("abcd", "bcda"),
    "double": ("abb", "aabbbb"),
}


@pytest.mark.parametrize("skill", SKILLS)
def test_answers_by_hand(skill: str):
    question, answer = BY_HAND[skill]
    assert SKILLS[skill].answer(question) == answer
    assert SKILLS["add"].answer("95 27") == "221"


def test_halves_hold_every_skill_once():
    assert sorted(skill for half in HALVES.values() for skill in half) == sorted(SKILLS)


def test_splits_share_no_exercise_whatever_the_seeds():
    """Training text holds no exercise of a test item, in single or in paired lines."""
    tested = {part for seed in range(3) for item in items(400, seed) for part in item.prompt.strip(" =\n").split(", ")}
    tuned = {part for item in items(400, 0, "development") for part in item.prompt.strip(" =\n").split(", ")}
    read = set()
    for line in islice(lines(dict.fromkeys(SKILLS, 1.0), seed=0), 5000):
        read |= set(line.strip().split(" = ")[0].split(", "))
    assert not tested & tuned
    assert not (tested | tuned) & read
    assert {split_of(text) for text in tested} == {"test"}


def test_items_follow_the_seed_and_take_every_skill_equally_often():
    assert items(80, 3) == items(80, 3) != items(80, 4)
    singles = items(80, 0, pairs=0.0)
    assert {skill: sum(item.skills == (skill,) for item in singles) for skill in SKILLS} == dict.fromkeys(SKILLS, 10)
    for item in items(80, 0, pairs=1.0):
        assert {next(name for name, half in HALVES.items() if skill in half) for skill in item.skills} == set(HALVES)
        assert item.prompt.startswith("\n")
        assert item.answer == " " + ", ".join(_answers(item.prompt))


def _answers(prompt: str) -> list[str]:
    exercises = [part.split(" ", 1) for part in prompt.strip(" =\n").split(", ")]
    return [SKILLS[skill].answer(question) for skill, question in exercises]


def test_questions_use_the_alphabet():
    random = Random(0)
    for skill in SKILLS:
        text, _ = exercise(skill, "train", random)
        assert set(text.split(" ", 1)[1]) <= set(LETTERS + "0123456789 ")
