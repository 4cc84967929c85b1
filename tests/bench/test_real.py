"""The benchmark of real models with a tiny one: every figure is measured, and the law is measured against float32."""

import sys
from pathlib import Path

import pytest

from tests import tiny

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import real


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> real.Bench:
    folder = tmp_path_factory.mktemp("models") / "smollm-tiny"
    tiny.text_models("llama")[0].save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return real.Bench(str(folder), "off", tokens=4, repeats=1)


def test_all_figures_are_measured(bench: real.Bench):
    """Speeds at each number of rows, forwards of each width, and the bars beside them."""
    figures = bench.speed((1, 3)) | bench.forwards()
    assert len(figures) == 2 * 4 + 2 + 2 * len(real.WIDTHS)
    assert all(value > 0 for value in figures.values())
    assert real.bars(list(figures)) == {
        "over generate, smollm-tiny": ">= 2.0",
        "over generate, smollm-tiny, 3 rows": ">= 1.5",
        "share of the read bandwidth, smollm-tiny": ">= 0.75",
    }


def test_the_law_is_compared_with_float32(bench: real.Bench):
    """bfloat16 moves it, by less than another model would; without compiled forwards both columns are one."""
    figures = bench.law(40)
    assert len(figures) == 2 * len(real.WIDTHS) * 2
    assert all(0 < value < 0.1 for value in figures.values())
    for width in real.WIDTHS:
        name = "total variation, smollm-tiny, {}, {} wide, mean"
        assert figures[name.format("plain", width)] == figures[name.format("compiled", width)]


def test_a_table_of_embeddings_is_read_only_where_it_is_the_head(bench: real.Bench):
    """A forward looks up a row of it; bytes per second must not count the rest."""
    table = bench.model.get_input_embeddings().weight
    assert bench.model.get_output_embeddings().weight is not table
    assert bench.bytes == sum(each.nbytes for each in bench.model.parameters()) - table.nbytes


@pytest.mark.parametrize("folders", [[], ["nowhere"]])
def test_what_is_no_model_is_one_line(
    folders: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Before anything is compiled."""
    monkeypatch.setattr(sys, "argv", ["real.py", *folders])
    with pytest.raises(SystemExit):
        real.main()
    assert "the folder of a model" in capsys.readouterr().err
