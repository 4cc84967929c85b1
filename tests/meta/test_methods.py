"""Every combination has a page with the same parts, and its example runs."""

import re
from pathlib import Path

import pytest

from unisono.combine.parse import FORMS

PAGES = Path(__file__).parents[2] / "docs" / "methods"
NAMES = sorted([*FORMS, "custom"])
PARTS = ["Formula", "Source", "Default", "When it helps", "What it costs", "Example"]


@pytest.mark.parametrize("name", NAMES)
def test_every_combination_has_its_page(name: str):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# `{name}`: ")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[: len(PARTS)] == PARTS
    assert f"[`{name}`]({name}.md)" in (PAGES / "index.md").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in NAMES if name != "cosd_tree"])
def test_every_example_runs(name: str, capsys: pytest.CaptureFixture[str]):
    examples = re.findall(r"```python\n(.*?)```", (PAGES / f"{name}.md").read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for code in examples:
        exec(compile(code, f"docs/methods/{name}.md", "exec"), {"__name__": "example"})
        assert capsys.readouterr().out.strip()
