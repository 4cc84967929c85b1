"""`unisono eval` and `unisono fit-tree`: tables, files, and one line for every mistake."""

import json
from pathlib import Path
from typing import Any

import pytest

from unisono import Ensemble
from unisono.cli import eval as commands
from unisono.combine import Combination, cosd
from unisono.combine.tree import read_tree
from unisono.evals.skills import Item

PAIR = ("-m", "zoo:code-s", "-m", "zoo:code-s", "--dtype", "float32")
MIXED = ("-m", "zoo:code-m", "-m", "zoo:code-s")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    lines = ["import os\nimport sys\n", "def main():\n    pass\n", "class A:\n    x = 1\n", "for i in range(10):\n"]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


def test_bits_per_byte_with_tuning(run, texts: Path, tmp_path: Path):
    """Tuned on some documents, tested on the others; every result has its interval, and the file its provenance."""
    output, picture = tmp_path / "out.json", tmp_path / "out.png"
    done = run(
        *("eval", "bits-per-byte", *MIXED, "--text", str(texts), "--combine", "weighted", "--tune", "realign"),
        *("--output", str(output), "--plot", str(picture)),
    )
    assert (done.code, done.err) == (0, "")
    assert "bits per byte" in done.out
    report = json.loads(output.read_text())
    assert report["items"] + report["tuned"]["realign"]["on"] == 4
    names = [row["name"] for row in report["results"]]
    assert names == ["code-m", "code-s", "weighted:0.5,0.5", report["tuned"]["realign"]["best"]]
    assert all(len(row["forwards_per_token"]) == 2 for row in report["results"])
    assert all(row["score"]["low"] <= row["score"]["value"] <= row["score"]["high"] for row in report["results"])
    assert report["provenance"]["command"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_exact_match_from_a_file(run, tmp_path: Path):
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"prompt": "import", "answer": " os"}) + "\n")
    done = run("eval", "exact-match", "-m", "zoo:code-s", "--text", str(items), "--combine", "only:0")
    assert done.code == 0
    assert "accuracy" in done.out


@pytest.mark.parametrize("name", ["skills", "exact-match", "bits-per-byte", "humaneval"])
def test_tuning_never_sees_what_is_tested(run, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the tuned candidates are run on and what is reported share no item, and no item twice; all are used."""
    path = tmp_path / "items.jsonl"
    fields = ("prompt", "answer", "text", "test", "entry_point")
    path.write_text("".join(json.dumps(dict.fromkeys(fields, f"x{number % 30}")) + "\n" for number in range(40)))
    seen: dict[bool, set[str]] = {True: set(), False: set()}

    def note(task: Any, tuning: bool) -> None:
        parts = next(value for value in vars(task).values() if isinstance(value, list))
        seen[tuning] |= {part.prompt if isinstance(part, Item) else str(part) for part in parts}

    def tune(ensemble: Ensemble, task: Any, *rest: Any) -> tuple[Combination, list[Any]]:
        note(task, True)
        return cosd(), []

    def compare(ensemble: Ensemble, task: Any, *rest: Any) -> list[Any]:
        note(task, False)
        return []

    monkeypatch.setattr(commands, "tune", tune)
    monkeypatch.setattr(commands, "compare", compare)
    given = () if name == "skills" else ("--text", str(path))
    code = ("--allow-code",) if name == "humaneval" else ()
    done = run("eval", name, *PAIR, "--tune", "cosd", *given, *code)
    assert (done.code, done.err) == (0, "")
    assert not seen[True] & seen[False]
    if name == "skills":
        exercises = [{part for item in seen[side] for part in item.strip(" =\n").split(", ")} for side in seen]
        assert not exercises[0] & exercises[1]
    else:
        assert len(seen[True]) + len(seen[False]) == 30
    assert min(map(len, seen.values())) > 5


BAD = [
    (("eval",), "give a task: skills"),
    (("eval", "skils", *PAIR), "unknown task: 'skils'; did you mean 'skills'"),
    (("eval", "mmlu", *PAIR, "--tune", "cosd"), "--tune, --text and --allow-code are for skills"),
    (("eval", "--preset", "skils"), "unknown preset: 'skils'; did you mean 'skills'"),
    (("eval", "bits-per-byte", *PAIR), "needs --text"),
    (("eval", "bits-per-byte", *PAIR, "--text", "no-such-file"), "no-such-file"),
    (("eval", "skills", *PAIR, "--text", "x"), "skills makes its own items"),
    (("eval", "skills", *PAIR, "--combine", "cosdd"), "did you mean 'cosd'"),
    (("eval", "skills", *PAIR, "--tune", "only"), "unknown combination to tune"),
    (("eval", "skills", *PAIR, "--allow-code"), "--allow-code"),
    (("eval", "humaneval", *PAIR, "--text", "x"), "needs --allow-code"),
    (("eval", "skills", *PAIR, "--include-path", "."), "--include-path is for tasks of lm-evaluation-harness"),
    (("eval", "skills", *PAIR, "--schedule", "cos:1"), "2 draft length"),
    (("eval", "skills", *PAIR, "--limit", "0"), "--limit"),
    (("eval", "skills", *PAIR, "--output", "no-such-folder/x.json"), "cannot be written: no-such-folder/x.json"),
    (("eval", "skills", *PAIR, "--plot", "."), "cannot be written: .; name a file"),
    (("eval", "skills", *PAIR, "--combine", "cosd:nan"), "alpha"),
    (("eval", "skills", *PAIR, "--combine", "proxy"), "3 members"),
    (("fit-tree",), "give a file of texts or --skills N"),
    (("fit-tree", "no-such-file", *PAIR), "no-such-file"),
    (("fit-tree", "--skills", "0", *PAIR), "--skills must be 1 or more"),
    (("fit-tree", "--skills", "2", *PAIR), "do not tell the members apart"),
    (("fit-tree", "--skills", "2", "-m", "zoo:code-s"), "fitted for 2 members"),
    (("generate", "x", *PAIR, "--negative-prompt", "y"), "negative_prompt has no use with weighted:0.5,0.5"),
    (("generate", "x", *PAIR, "--combine", "cosd_tree:no.json"), "tree file cannot be read: no.json"),
]


def test_an_answer_that_cannot_be_given_is_refused(run, tmp_path: Path):
    """Answers end at a line break; one that has a line break inside would be wrong whatever the members say."""
    path = tmp_path / "asked.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "a", "answer": "b\\nc"}\n')
    done = run("eval", "exact-match", *PAIR, "--text", str(path))
    assert done.code == 2
    assert "asked.jsonl:2: 'answer' has a line break" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_mistakes_are_one_line(run, arguments: tuple[str, ...], message: str):
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_a_tree_is_fitted_printed_and_used(run, tmp_path: Path):
    """From a file of texts to a combination."""
    pytest.importorskip("sklearn")
    texts, tree = tmp_path / "texts.jsonl", tmp_path / "tree.json"
    answers = ["os\nimport sys\n\n\ndef main():\n    return None\n", "self.items = []\n        self.name = name\n"]
    texts.write_text("".join(json.dumps({"prompt": "import ", "answer": answer}) + "\n" for answer in answers))
    done = run("fit-tree", str(texts), *MIXED, "--output", str(tree), "--leaf", "1")
    assert (done.code, done.err) == (0, "")
    assert "if p_" in done.out
    assert "replace by the assistant" in done.out
    read_tree(tree)
    assert json.loads(tree.read_text())["members"] == ["code-m", "code-s"]
    done = run("generate", "import", *MIXED, "--combine", f"cosd_tree:{tree}", "--max-tokens", "4", "--seed", "0")
    assert done.code == 0


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.xdist_group("harness")
def test_a_task_of_the_harness_from_a_folder(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every member alone and the combination, with the task's metrics; a typo names the nearest task."""
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"q": f"sort {word} =", "a": word}) + "\n" for word in ("abc", "bcd")))
    (tmp_path / "local.yaml").write_text(
        f"task: local_sorting\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        'output_type: generate_until\ndoc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\n'
        'generation_kwargs: {until: ["\\n"], max_gen_toks: 8}\nmetric_list: [{metric: exact_match}]\n'
    )
    output = tmp_path / "out.json"
    skills = ("-m", "zoo:skills-m", "-m", "zoo:skills-n", "--include-path", str(tmp_path), "--limit", "2")
    plain = ("--combine", "weighted", "--schedule", "standard")
    drawn = tmp_path / "out.png"
    files = ("--output", str(output), "--plot", str(drawn))
    done = run("eval", "local_sorting", *skills, "--combine", "cosd", *plain, *files)
    assert done.code == 0, done.err
    assert "exact_match" in done.out
    rows = json.loads(output.read_text())["results"]
    assert [row["name"] for row in rows] == ["skills-m alone", "skills-n alone", "cosd", "weighted"]
    assert [row["forwards_per_token"] for row in rows] == [[1, 0], [0, 1], [1, 1], [1, 1]]
    assert [row["kind"] for row in rows] == ["member", "member", "fused", "fused"]
    assert json.loads(output.read_text())["higher_is_better"] == {"exact_match": True}
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert all(row["tokens_per_second"] > 0 and len(row["forwards_per_token"]) == 2 for row in rows)
    done = run("eval", "local_sortin", *skills)
    assert done.code == 2
    assert "did you mean 'local_sorting'" in done.err
