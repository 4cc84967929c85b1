"""The benchmark of large vocabularies, with small ones: every figure is measured, and members are what they claim."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from unisono import Ensemble, SamplingParams

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import vocabulary


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "VOCABULARIES", (3000, 5000))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("schedule", ["standard", "auto"])
def test_costs_are_measured(schedule: str):
    """Of each sampling once, with the bar of its vocabulary."""
    wanted = [each for each in vocabulary.cells() if each.schedule == schedule and each.law == "flat"]
    found: dict[str, Any] = {}
    vocabulary.costs(wanted, tokens=3, repeats=1, tell=found.__setitem__)
    assert list(found) == [each.name for each in wanted]
    assert all(figure["milliseconds"] > 0 for figure in found.values())
    for figure in found.values():
        assert figure["scaled"] == pytest.approx(figure["milliseconds"] * 0.12 / figure["softmax"])
    bars = [each.bar for each in wanted]
    assert bars[len(bars) // 2 :] == [1.8 * bar for bar in bars[: len(bars) // 2]]


@pytest.mark.parametrize(("law", "share"), [("flat", 0.59), ("peaked", 0.0033)])
def test_nucleus_of_random_members_has_its_size(law: str, share: float):
    """Of 40,000 tokens, top_p=.9 keeps the share that the benchmark names."""
    (member,) = vocabulary.random_members(law, 40_000, 1)
    with torch.no_grad():
        laws = torch.softmax(member(torch.tensor([[5, 6, 7, 8]])).logits[0].double(), -1)
    sums = laws.sort(descending=True).values.cumsum(-1)
    found = (sums < 0.9).double().mean()
    assert share / 1.5 < float(found) < share * 1.5


def test_padding_does_not_change_the_law():
    """The output layer has more rows, and the laws of the pair are those of the bundled models."""
    ensemble = vocabulary.padded_pair(9000, compile="off")
    (prompt,) = vocabulary.prompts(1)
    results = [
        each.generate([prompt], SamplingParams(max_tokens=6, temperature=0), schedule="standard")[0]
        for each in (ensemble, Ensemble.load([f"zoo:{name}" for name in vocabulary.MEMBERS], compile="off"))
    ]
    assert results[0].token_ids == results[1].token_ids
    race = vocabulary.Race("plain", 1, "auto", seed=1)
    assert vocabulary.speed(ensemble, [prompt], race, "auto", tokens=3) > 0


def test_calls_alternate_until_the_interval_is_narrow():
    asked: list[str] = []

    def run(schedule: str) -> float:
        asked.append(schedule)
        return 1.0 if schedule == "standard" else 2 * math.exp(noise * (-1) ** asked.count("auto"))

    noise = 0.0
    found = vocabulary.ratio(run, "auto")
    assert found["ratio"] == pytest.approx(2)
    assert found["interval"] == pytest.approx([2, 2])
    assert found["repeats"] == 6
    assert found["holds"]
    assert asked[2:8] == ["standard", "auto", "auto", "standard", "standard", "auto"]
    noise = 0.5
    found = vocabulary.ratio(run, "auto")
    assert found["repeats"] == 30
    assert found["interval"][0] < 2 < found["interval"][1]


def test_figures_of_one_commit_are_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A file of another commit or machine is refused by one line."""
    path = tmp_path / "file.json"
    vocabulary.Document(path).add("first", {"scaled": 1.0})
    vocabulary.Document(path).add("second", {"scaled": 2.0})
    content = json.loads(path.read_text())
    assert list(content["figures"]) == ["first", "second"]
    assert len(content["commands"]) == 2
    assert "first" in capsys.readouterr().out
    path.write_text(json.dumps({**content, "commit": "0"}))
    with pytest.raises(SystemExit, match="another commit; name another file"):
        vocabulary.Document(path)


@pytest.mark.parametrize(("freedom", "quantile"), [(5, 2.5706), (10, 2.2281), (29, 2.0452)])
def test_quantiles_of_student(freedom: int, quantile: float):
    assert vocabulary.student(freedom) == pytest.approx(quantile, rel=2e-3)
