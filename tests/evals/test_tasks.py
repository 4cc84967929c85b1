"""Tasks and comparisons on tiny models: scores against loops written out."""

import math
from dataclasses import replace

import pytest

from tests import tiny
from unisono import Ensemble, SamplingParams
from unisono.errors import ConfigurationError, RequestError
from unisono.evals.compare import best_of, by_skill, compare
from unisono.evals.skills import Item
from unisono.evals.tasks import BitsPerByte, ExactMatch, Outcome, contexts
from unisono.evals.texts import halves, read_documents, read_records
from unisono.evals.tune import GRIDS, WEIGHTED, grid, simplex, tune

DOCUMENTS = [
    "def f(x):\n    return x + 1\n\nfor i in range(10):\n    print(f(i))\n",
    "import os\n" + "".join(f"value_{i} = os.environ[{i!r}]\n" for i in range(120)),
    "word " * 300,
]


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


@pytest.fixture(scope="module")
def items(ensemble: Ensemble) -> list[Item]:
    """Items that the first member, the second, both or none answer right."""
    made = []
    for index, prompt in enumerate(
        ["for i in", "import os", "def f(", "x = 1", "class A", "return x", "while", "if y"]
    ):
        params = SamplingParams(max_tokens=4, temperature=0)
        texts = [
            ensemble.generate(prompt, params, combine=f"only:{member}")[0].text.split("\n")[0] for member in (0, 1)
        ]
        made.append(Item(prompt, [*texts, "never"][index % 3], ("a",) if index % 2 else ("a", "b")))
    return made


def test_exact_match_is_greedy_text(ensemble: Ensemble, items: list[Item]):
    """Right is right as a whole; forwards and tokens are those of the runs."""
    task = ExactMatch(items, stop=("\n",), tokens=4)
    outcome = task.run(ensemble, "only:0", "standard")
    params = SamplingParams(max_tokens=4, temperature=0, stop="\n")
    texts = [ensemble.generate(item.prompt, params, combine="only:0")[0].text for item in items]
    assert outcome.texts == tuple(texts)
    assert outcome.scores == tuple(float(text == item.answer) for text, item in zip(texts, items, strict=True))
    assert 0 < sum(outcome.scores) < len(items)
    assert outcome.forwards == (outcome.tokens, 0)


def test_comparison_has_members_methods_and_routers(ensemble: Ensemble, items: list[Item]):
    """The oracle router is the best of both on each item; gains are over the better member."""
    task = ExactMatch(items, stop=("\n",), tokens=4)
    rows = {row.name: row for row in compare(ensemble, task, ["weighted:0.5,0.5", "cosd"], "cos:1,1")}
    first, second = (rows[name] for name in ensemble.names)
    oracle = rows["router: oracle"]
    assert oracle.scores == tuple(max(pair) for pair in zip(first.scores, second.scores, strict=True))
    picked = rows["router: lower prompt perplexity"]
    for index, item in enumerate(items):
        totals = [ensemble.logprobs("", item.prompt, combine=f"only:{member}").total for member in (0, 1)]
        wanted = (first if totals[0] >= totals[1] else second).scores[index]
        assert picked.scores[index] == wanted
    best = max(first.score.value, second.score.value)
    assert oracle.gain is not None
    assert oracle.gain.value == pytest.approx(oracle.score.value - best)
    assert first.gain is None
    assert first.forwards_per_token == (1, 0)
    assert {row.kind for row in rows.values()} == {"member", "fused", "router"}
    groups = by_skill(task, list(rows.values()))
    assert set(groups) == {"a", "two skills"}
    assert groups["a"]["cosd:alpha=0.5,beta=0.5"]["value"] == pytest.approx(
        sum(rows["cosd:alpha=0.5,beta=0.5"].scores[1::2]) / 4
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_pieces_make_up_the_document(ensemble: Ensemble, document: str):
    """Nothing is lost or scored twice, and every piece with its context fits."""
    pairs = contexts(ensemble, document)
    assert "".join(piece for _, piece in pairs) == document
    room = ensemble.lineup.context_length
    assert room is not None
    for context, piece in pairs:
        assert context == context.rstrip() or not context.strip()
        assert len(ensemble.tokenizer.encode(context + piece)) <= room


def test_bits_per_byte_is_the_sum_over_pieces(ensemble: Ensemble):
    """Of one piece: minus the log-probability behind the beginning-of-text token, in bits."""
    outcome = BitsPerByte(DOCUMENTS[:1]).run(ensemble, "weighted:0.7,0.3", "auto")
    wanted = -ensemble.logprobs("", DOCUMENTS[0], combine="weighted:0.7,0.3").total / math.log(2)
    assert outcome.scores == pytest.approx((wanted,))
    assert outcome.sizes == (len(DOCUMENTS[0].encode()),)
    assert outcome.method == "weighted:0.7,0.3"
    assert outcome.forwards == (1, 1)  # a text that fits is one forward
    assert BitsPerByte(DOCUMENTS[:1] * 3).run(ensemble, "only:1", "auto").forwards == (0, 3)


def test_tuning_takes_the_best_of_the_grid(ensemble: Ensemble):
    """Every candidate is measured on the development task alone."""
    task = BitsPerByte(DOCUMENTS[:1])
    seen: list[str] = []
    best, outcomes = tune(ensemble, task, "weighted", progress=seen.append)
    assert len(outcomes) == len(seen) == 9
    assert best.name == best_of(outcomes, higher=False).method == min(outcomes, key=lambda each: each.scores).method
    with pytest.raises(ConfigurationError, match="did you mean 'weighted'"):
        tune(ensemble, task, "wieghted")


def test_every_grid_is_of_distinct_combinations():
    for name in (*GRIDS, *WEIGHTED):
        members = 3 if name == "proxy" else 2
        candidates = grid(name, members)
        assert len({candidate.name for candidate in candidates}) == len(candidates) > 1
        for candidate in candidates:
            candidate.check(members)
    assert sorted(map(sum, simplex(3))) == pytest.approx([1.0] * 10)


def test_every_method_is_warm_when_it_is_timed(ensemble: Ensemble, items: list[Item]):
    """Each runs on the first items before it runs on all; what the warm-up says is not in the table."""
    ran: list[tuple[str, int]] = []

    class Noted(ExactMatch):
        def run(self, ensemble: Ensemble, combine: object, schedule: str) -> Outcome:
            ran.append((str(combine), len(self)))
            return super().run(ensemble, combine, schedule)

    rows = compare(ensemble, Noted(items, stop=("\n",), tokens=2), ["cosd"], "standard")
    assert ran == [(name, count) for name in ("only:0", "only:1", "cosd") for count in (2, len(items))]
    assert {len(row.scores) for row in rows} == {len(items)}


def test_the_best_outcome_follows_the_unit():
    low, high = (Outcome(name, (value, value), 1.0, 1) for name, value in (("low", 0.1), ("high", 0.9)))
    assert best_of([low, high], higher=True) is high
    assert best_of([low, replace(high, sizes=(1.0, 100.0))], higher=False).method == "high"


def test_splits_of_texts_share_nothing():
    texts = [str(number % 50) for number in range(100)]
    some, others = halves(texts, texts)
    assert len(some) + len(others) == 100
    assert not set(some) & set(others)
    with pytest.raises(RequestError, match="too few"):
        halves(["a"], ["a"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n', ":2 has no text 'answer'"),
        ("[1]\n", ":1 has no text 'prompt'"),
        ('{"prompt": 1, "answer": "b"}\n', ":1 has no text 'prompt'"),
        ("prompt\n", ":1 is not JSON"),
        ("\n", "is empty"),
    ],
)
def test_files_without_the_fields_are_refused(tmp_path, content: str, message: str):
    path = tmp_path / "items.jsonl"
    path.write_text(content)
    with pytest.raises(RequestError) as error:
        read_records(path, ["prompt", "answer"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(RequestError):
        read_documents(tmp_path / "missing.txt")
