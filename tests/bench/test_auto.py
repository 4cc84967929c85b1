"""The measurement of `auto`: its cells, its arithmetic on made-up repeats, its files, and a run of two tokens."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unisono.bench import measure
from unisono.bench.choice import Choice

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import auto
import auto_pairs
from auto_cells import PARTS, PICKED, Rival


def test_the_cells_are_those_of_the_table():
    """45 cells over `standard`; 12 with six fixed choices each; names are unique, pairs and choices exist."""
    assert {part: len(cells) for part, cells in PARTS.items()} == {
        "standard": 45, "fixed": 12, "drawn": 2, "alone": 4, "one": 2, "others": 2,
    }  # fmt: skip
    for cells in PARTS.values():
        assert len({cell.name for cell in cells}) == len(cells)
        for cell in cells:
            assert {cell.pair, *(rival.members or cell.pair for rival in cell.rivals)} <= auto_pairs.PAIRS.keys()
            assert len(set(cell.fixed)) in (0, 6)
            assert bool(cell.fixed) == any(rival.choice == PICKED for rival in cell.rivals)
            for choice in (*cell.fixed, *(rival.choice for rival in cell.rivals)):
                Choice.parse(choice)
    assert all(cell.temperature == 1 or "drawn" not in str(cell.fixed) for cell in PARTS["fixed"])


def test_32_prompts_differ():
    found = auto_pairs.prompts("python")
    assert len({tuple(ids) for ids in found}) == len(found) == 32


def test_the_interval_is_the_t_interval_of_logarithms():
    """Of e^-1, 1, e: mean 0, standard error 1 / sqrt(3), two degrees of freedom."""
    middle, low, high = auto.interval([torch.e**-1, 1.0, torch.e])
    half = 4.303 / 3**0.5
    assert (middle, low, high) == pytest.approx((1.0, torch.e**-half, torch.e**half))
    assert len(auto.QUANTILES) == auto.MOST - 1


@pytest.mark.parametrize(
    ("count", "width", "ends"),
    [(5, 0.01, False), (6, 0.05, True), (6, 0.07, False), (29, 0.07, False), (30, 0.07, True)],
)
def test_a_cell_ends_when_its_intervals_are_narrow(count: int, width: float, ends: bool):
    """The widest interval counts."""
    ratios = {"a": {"low": 1.0, "high": 1.0 + width}, "b": {"low": 1.0, "high": 1.01}}
    assert auto.ended(ratios, count) == ends


def test_ratios_are_taken_within_a_repeat():
    """Whatever the speed of the machine was in a repeat."""
    speeds = {"auto": [2, 20, 0.2], "standard": [1, 10, 0.1]}
    found = auto.compared({"standard": Rival(low=0.95, high=1.0)}, speeds)["standard"]
    assert [found[key] for key in ("ratio", "low", "high")] == pytest.approx([2.0, 2.0, 2.0])
    assert found["holds"]
    assert auto.compared({"standard": Rival()}, {name: each[:1] for name, each in speeds.items()}) == {}
    assert auto.compared({"standard": Rival()}, speeds)["standard"]["holds"] is None  # there is no bar


@pytest.mark.parametrize(
    ("rival", "found", "holds"),
    [
        (Rival(low=0.95, high=1.0), (0.98, 0.96, 1.0), True),
        (Rival(low=0.95, high=1.0), (0.98, 0.96, 0.99), False),  # the whole interval is below 1
        (Rival(low=0.95, high=1.0), (1.1, 0.94, 1.2), False),
        (Rival(ratio=1.5), (1.49, 1.4, 1.6), False),
        (Rival(ratio=1.5), (1.5, 1.0, 2.0), True),
    ],
)
def test_bars(rival: Rival, found: tuple[float, float, float], holds: bool):
    assert rival.holds(found) == holds


def test_means_need_all_their_cells():
    """One mean of twelve ratios; none as long as one of them is missing."""
    cells: dict[str, Any] = {cell.name: {"ratios": {PICKED: {"ratio": 4.0}}} for cell in PARTS["fixed"]}
    first = PARTS["fixed"][0].name
    cells[first] = {"ratios": {PICKED: {"ratio": 4.0**13}}}
    assert auto.means({"fixed": cells})["fixed, 12 cells"]["ratio"] == pytest.approx(16.0)
    cells[first] = {"ratios": {}}
    assert auto.means({"fixed": cells}) == {}


def test_added_tokens_do_not_change_the_law():
    """The law of the old tokens stays, the new ones have probability 0, and the given model is left as it was."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes, tie_word_embeddings=True)).eval()
    large = auto_pairs.padded(model, 300)
    with torch.no_grad():
        old, new = (each(torch.arange(40).unsqueeze(0)).logits.softmax(-1) for each in (model, large))
    assert new.shape[-1] == large.config.vocab_size == 300
    torch.testing.assert_close(new[..., :50], old)
    assert not new[..., 50:].any()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.vocab_size == 50


def test_a_file_of_another_commit_or_machine_is_refused(tmp_path: Path):
    """A file is continued, and names its cells before anything has run."""
    path = tmp_path / "auto.json"
    document = auto.opened(path, 64)
    assert document["named"]["fixed"] == [cell.name for cell in PARTS["fixed"]]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert len(auto.opened(path, 64)["commands"]) == 2
    with pytest.raises(SystemExit, match="another tokens"):
        auto.opened(path, 32)
    for key, value in (("commit", "0" * 40), ("cpu", "abacus")):
        path.write_text(json.dumps(document | {key: value}), encoding="utf-8")
        with pytest.raises(SystemExit, match=f"another {key}"):
            auto.opened(path, 64)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is the bundled pair, not compiled; one member where there is one."""
    bundled = ("zoo:code-m", "zoo:code-s")
    for name, pair in auto_pairs.PAIRS.items():
        members = bundled[: len(pair.members)]
        monkeypatch.setitem(
            auto_pairs.PAIRS, name, replace(pair, members=members, dtype="float32", padded=False, compile="off")
        )


@pytest.mark.usefixtures("small")
def test_a_cell_is_measured_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing runs twice; the picks of a first run are kept; every call begins with an `auto` that knows nothing."""
    path, ensembles, groups = tmp_path / "auto.json", [], []
    run_once = measure.run_once

    def noted(ensemble: Any, group: Any, *rest: Any) -> Any:
        ensembles.append(ensemble)
        groups.append(group)
        return run_once(ensemble, group, *rest)

    monkeypatch.setattr(measure, "run_once", noted)
    monkeypatch.setattr(auto, "PICKS", 1)
    monkeypatch.setattr(auto, "ROWS", 2)
    cells = [PARTS["drawn"][1], PARTS["alone"][2], next(cell for cell in PARTS["fixed"] if cell.rows == 8)]
    document = auto.opened(path, 2)
    auto.Bench(path, document, 2, 2).run(cells)
    assert len({id(each) for each in ensembles}) == len(ensembles)
    assert {len(group) for group in groups} == {1, 8}
    saved = json.loads(path.read_text(encoding="utf-8"))
    for cell in cells:
        found = saved["cells"][cell.part][cell.name]
        assert {len(each) for each in found["speeds"].values()} == {2}
        assert found["counts"]["auto"]["tokens"] == 2 * 2 * max(2, cell.rows)
        assert found["ratios"].keys() == {rival.name for rival in cell.rivals}
    assert saved["cells"]["drawn"][cells[0].name]["bound"]["gain"] >= 1
    pick = saved["picks"]["fixed"][cells[2].name]
    assert pick["picked"] in pick["speeds"].keys() & set(cells[2].fixed)
    assert auto.table(saved).row_count == 1 + 1 + 5 + 1
    ensembles.clear()
    auto.Bench(path, auto.opened(path, 2), 2, 2).run(cells)
    assert not ensembles
