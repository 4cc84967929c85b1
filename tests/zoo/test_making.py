"""The corpus and the trainer do what the cards say, shown on small inputs."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo import corpus, sources, tokens, train
from zoo.attention import attend_in_blocks
from zoo.measure import windows


def source_text(seed: int, lines: int = 30) -> str:
    """Made-up code: long lines that differ, letters only, so that no filter takes it for a table."""
    generator = random.Random(seed)
    words = ["".join(generator.choices("abcdefghijklmnop", k=6)) for _ in range(4 * lines)]
    return "".join("{} = call_{}({}, {})\n".format(*words[4 * i : 4 * i + 4]) for i in range(lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {
        "good.py": source_text(1),
        "other.py": source_text(2),
        "copy.py": source_text(1) + "# one more line\n",
        "short.py": "x = 1\n",
        "long_line.py": source_text(3) + "x" * 600,
        "made.py": "# Automatically generated, do not edit\n" + source_text(4),
        "tests/helper.py": source_text(5),
        "test_it.py": source_text(6),
        "numbers.py": "table = [\n" + "    1234567890, 9876543210,\n" * 40 + "]\n",
        "notes.txt": source_text(7),
    }
    for name, text in texts.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "package" / "latin.py").write_bytes(source_text(8).encode() + b"\xe9")
    return tmp_path


@pytest.fixture
def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[corpus.File]:
    monkeypatch.setattr(sources.Source, "folder", lambda _: folder)
    return corpus.collect([sources.Source("package", "MIT", "python", ("package",))])


def test_only_source_that_a_person_wrote_is_kept(files: list[corpus.File]):
    assert [file.path for file in files] == ["package/copy.py", "package/other.py"]


def test_licence_headers_go_and_other_comments_stay():
    assert corpus.strip_header("# Copyright me\n# All rights reserved\n\nimport os\n") == "import os\n"
    assert corpus.strip_header("# What this does.\nimport os\n") == "# What this does.\nimport os\n"


def test_a_cap_is_chosen_by_hash_and_kept_in_path_order():
    made = [corpus.File("p", "python", f"{i}.py", f"{(7 * i) % 10}" * 64, "x" * 10) for i in range(10)]
    kept = corpus.capped(made, 45)
    assert [file.path for file in kept] == ["0.py", "3.py", "6.py", "9.py"]
    assert corpus.capped(reversed(made), 45) == kept


def test_splits_exclude_what_they_must():
    low, high = "0" * 64, "f" * 64
    quarters = ("python", "mathematics", "transformers")
    made = [corpus.File(q, q, "a.py", digest, "") for q in quarters for digest in (low, high)]
    made.append(corpus.File(sources.HELD_OUT_PACKAGE, "held-out", "a.py", high, ""))
    seen = {model: {file.quarter for file in corpus.training_files(made, model)} for model in sources.MISSING}
    assert seen["code-s"] == set(quarters)
    assert seen["code-m"] == {"python", "transformers"}
    assert seen["code-n"] == {"python", "mathematics"}
    assert all(file.digest == high for model in seen for file in corpus.training_files(made, model))


def test_snapshot_round_trip(files: list[corpus.File], tmp_path: Path):
    corpus.write_snapshot(files, tmp_path / "kept.jsonl")
    assert corpus.read_snapshot(tmp_path / "kept.jsonl") == files


@pytest.fixture
def documents() -> list[np.ndarray]:
    return [np.full(900, i, dtype=np.int32) for i in range(40)]


def first(found: Iterator[torch.Tensor], count: int) -> torch.Tensor:
    return torch.stack([next(found) for _ in range(count)])


@pytest.mark.parametrize("step", [1, 5, 9, 20])
def test_resumed_data_continues_where_it_stopped(documents: list[np.ndarray], step: int):
    whole = first(train.batches(documents, 1, 0), step + 3)
    assert torch.equal(first(train.batches(documents, 1, step), 3), whole[step:])


def test_an_epoch_repeats_nothing_and_rows_overlap_by_the_target():
    stream = np.arange(50_000, dtype=np.int32)
    rows = train.blocks([stream], 3, 0)
    assert rows.shape[1] == tokens.LONGEST + 1
    assert len(np.unique(rows[:, :-1])) == rows[:, :-1].size


def test_the_rate_warms_up_stays_and_decays_to_zero():
    rates = [train.scale(step, 1000) for step in range(1001)]
    assert rates[0] < 0.05
    assert set(rates[train.WARMUP_STEPS : 500]) == {1.0}
    assert rates[750] == pytest.approx(0.5)
    assert rates[1000] == 0


def test_block_attention_is_attention():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 300, 16).unbind()
    found, _ = attend_in_blocks(torch.nn.Identity(), query, key, value, None, 0.25)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.25)
    torch.testing.assert_close(found, expected.transpose(1, 2))


@pytest.mark.parametrize("length", [2, 600, 1025, 1026, 5000])
def test_every_target_is_measured_once(length: int):
    stream = np.arange(length, dtype=np.int32)
    targets = [row[len(row) - new :] for row, new in windows(stream)]
    assert torch.cat(targets).tolist() == list(range(1, length))
    assert all(len(row) <= tokens.LONGEST + 1 for row, _ in windows(stream))


def test_a_small_tokenizer_is_saved_whole(tmp_path: Path):
    tokens.save_tokenizer(tokens.train_tokenizer([source_text(1)], 300), tmp_path)
    loaded = tokens.load_tokenizer(tmp_path)
    assert loaded.token_to_id(tokens.END) == 0
    assert loaded.decode(loaded.encode("if x:\n    é\t").ids) == "if x:\n    é\t"
