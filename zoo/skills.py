"""The training text of the skill models: exercises made from a seed.

The exercises of a specialist are nearly all from its own half of the skills.
"""

import argparse
from collections.abc import Iterator
from itertools import islice
from random import Random

import numpy as np

from unisono.evals.skills import HALVES, SKILLS, item
from zoo.tokens import BYTES, SKILLS_FOLDER, encode_texts, load_tokenizer, save_tokenizer, train_tokenizer

OTHER_HALF = 0.0005  # share of a specialist's exercises: about 60 per skill, too few to learn it; 0.02 was enough
LINES = 64  # per document
DOCUMENTS = 5000
LONGEST = 256

# The user's message is an exercise, the assistant's message is the answer; both are on one line
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- message['content'] if message['role'] == 'assistant' else '\\n' + message['content'] -}}
{%- endfor -%}
"""


def shares(model: str) -> dict[str, float]:
    """Return how often the model reads each skill. The generalist reads all skills equally often."""
    if model not in HALVES:
        return dict.fromkeys(SKILLS, 1.0)
    own = HALVES[model]
    return {
        skill: (1 - OTHER_HALF) / len(own) if skill in own else OTHER_HALF / (len(SKILLS) - len(own))
        for skill in SKILLS
    }


def lines(shares: dict[str, float], seed: int, pairs: float = 0.4) -> Iterator[str]:
    """Yield training lines without end, one item per line. The skill of each exercise is drawn with these shares."""
    random, names, weights = Random(seed), list(shares), list(shares.values())
    while True:
        skills = random.choices(names, weights, k=2 if random.random() < pairs else 1)
        made = item(skills, "train", random)
        yield made.prompt + made.answer


def skill_documents(model: str, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return training documents, and one document of another seed for the held-out loss. No test exercise is in them."""
    tokenizer = load_tokenizer(SKILLS_FOLDER)
    endless = lines(shares(model), seed)
    texts = ["".join(islice(endless, LINES)) for _ in range(DOCUMENTS)]
    watched = "".join(islice(lines(shares(model), seed + 10**6), 2 * LINES))
    return encode_texts(tokenizer, texts), encode_texts(tokenizer, [watched])


def main() -> None:
    """Write the tokenizer of the skill models, whose tokens are bytes."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    save_tokenizer(train_tokenizer([], BYTES), SKILLS_FOLDER, LONGEST, CHAT_TEMPLATE)


if __name__ == "__main__":
    main()
