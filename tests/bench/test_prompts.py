"""Prompts: a record's fields say which prompt it becomes."""

import json
import sys
from pathlib import Path

import pytest

from unisono.bench import prompts
from unisono.errors import ConfigurationError, RequestError

RECORDS = [
    ({"question": "What is 1 + 1?", "answer": "2"}, "Question: What is 1 + 1?\nAnswer:"),
    ({"question": "Which?", "choices": ["yes", "no"], "answer": 1}, "Which?\nA. yes\nB. no\nAnswer:"),
    ({"task_id": "HumanEval/0", "prompt": "def f():\n", "test": ""}, "def f():\n"),
    ({"article": "Long ago. ", "highlights": "Short."}, "Long ago.\n\nTL;DR:"),
    ({"text": "as it is"}, "as it is"),
]


def test_records_of_the_papers_tasks(tmp_path: Path):
    """GSM8K, MMLU, HumanEval, CNN/DailyMail and plain texts, all in one file; only so many are read."""
    file = tmp_path / "mixed.jsonl"
    file.write_text("".join(json.dumps(record) + "\n\n" for record, _ in RECORDS))
    assert prompts.read(str(file), 9) == [prompt for _, prompt in RECORDS]
    assert prompts.read(str(file), 2) == [prompt for _, prompt in RECORDS[:2]]


def test_lines_and_bundled_texts(tmp_path: Path):
    file = tmp_path / "lines.txt"
    file.write_text("def f(x):\n\nimport os\n")
    assert prompts.read(str(file), 4) == ["def f(x):", "import os"]
    assert prompts.read("python", 3) == list(prompts.PYTHON[:3])
    assert all(text.count("\n") > 6 for text in prompts.read("edits", 9))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"text": "a"}\n{"texts": "b"}\n',
            "file.jsonl:2 has none of the fields that make a prompt; give one of: question",
        ),
        ("[1]\n", "file.jsonl:1 has none of the fields"),
        ('{"question": 3}\n', "file.jsonl:1 has no texts as question"),
        ("not json\n", "file.jsonl:1 is not JSON"),
        ("\n", "there is no prompt in the file"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: str, message: str):
    file = tmp_path / "file.jsonl"
    file.write_text(content)
    with pytest.raises(RequestError, match=r"\A[^\n]+\Z") as error:
        prompts.read(str(file), 4)
    assert message in str(error.value)


def test_the_hub_needs_a_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in ("gsm8k", "openai/gsm8k:main:test"):
        with pytest.raises(ConfigurationError, match=rf"pip install 'unisono\[data\]', or give a file, not: {source}"):
            prompts.read(source, 1)
    with pytest.raises(RequestError, match="prompts cannot be read: no/such/file"):
        prompts.read("no/such/file", 1)
