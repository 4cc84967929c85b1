"""Text exercises with exact answers, generated from a seed.

The hash of the text of an exercise decides whether the exercise is for training, development or test. So no seed can
put a test exercise into the training data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from unisono.evals.texts import fraction

LETTERS = "abcdefghijkl"
SHORTEST, LONGEST = 3, 6  # number of letters of a word
STOP = "\n"

Split = Literal["train", "development", "test"]
# Upper ends of the ranges of the hash. All other exercises are for training
SHARES: dict[Split, float] = {"test": 0.03, "development": 0.05}


@dataclass(frozen=True)
class Skill:
    """A kind of exercise.

    `ask` returns a random question, without the name of the skill. `answer` returns the right answer.
    """

    ask: Callable[[Random], str]
    answer: Callable[[str], str]


@dataclass(frozen=True)
class Item:
    """A prompt with one or more exercises, the right answer to the prompt, and the skill of each exercise in order."""

    prompt: str
    answer: str
    skills: tuple[str, ...]


def _word(random: Random) -> str:
    return "".join(random.choices(LETTERS, k=random.randint(SHORTEST, LONGEST)))


def _repetitive(random: Random) -> str:
    """Return a word of at most three different letters."""
    return "".join(random.choices(random.sample(LETTERS, 3), k=random.randint(4, LONGEST)))


def _letter_and_word(random: Random) -> str:
    word = _repetitive(random)
    return f"{random.choice(word)} {word}"


def _two_numbers(random: Random) -> str:
    return f"{random.randint(1, 30)} {random.randint(1, 30)}"


def _count(question: str) -> str:
    letter, word = question.split()
    return str(word.count(letter))


SKILLS = {
    "reverse": Skill(_word, lambda word: word[::-1]),
    "sort": Skill(_word, lambda word: "".join(sorted(word))),
    "unique": Skill(_repetitive, lambda word: "".join(dict.fromkeys(word))),
    "count": Skill(_letter_and_word, _count),
    "shift": Skill(_word, lambda word: word.translate(str.maketrans(LETTERS, LETTERS[1:] + LETTERS[0]))),
    "add": Skill(_two_numbers, lambda question: str(sum(map(int, question.split())))[::-1]),
    "rotate": Skill(_word, lambda word: word[1:] + word[0]),
    "double": Skill(_word, lambda word: "".join(2 * letter for letter in word)),
}
HALVES = {"skills-m": ("reverse", "sort", "unique", "count"), "skills-n": ("shift", "add", "rotate", "double")}


def split_of(exercise: str) -> Split:
    """Return the split of an exercise by the hash of its text. The text contains the skill's name and the question."""
    place = fraction(exercise)
    return next((split for split, end in SHARES.items() if place < end), "train")


def exercise(skill: str, split: Split, random: Random) -> tuple[str, str]:
    """Return a random exercise of the split, and its answer.

    The exercise has the name of the skill and the question.
    """
    while True:
        question = SKILLS[skill].ask(random)
        text = f"{skill} {question}"
        if split_of(text) == split:
            return text, SKILLS[skill].answer(question)


def item(skills: Sequence[str], split: Split, random: Random) -> Item:
    """Return a prompt with one exercise per skill. The prompt `reverse abc, add 12 34 =` has the answer ` cba, 64`."""
    questions, answers = zip(*(exercise(skill, split, random) for skill in skills), strict=True)
    return Item("\n" + ", ".join(questions) + " =", " " + ", ".join(answers), tuple(skills))


def items(count: int, seed: int, split: Split = "test", pairs: float = 0.5) -> list[Item]:
    """Return `count` items that use all skills in turn.

    `pairs` is the share of items with two skills. These items are chosen at random. The two skills of an item are from
    different entries of `HALVES`.
    """
    random, names = Random(f"{seed} {split}"), list(SKILLS)
    made: list[Item] = []
    for index in range(count):
        skill = names[index % len(names)]
        if random.random() < pairs:
            other = random.choice(next(half for half in HALVES.values() if skill not in half))
            made.append(item(random.sample([skill, other], 2), split, random))
        else:
            made.append(item([skill], split, random))
    return made
