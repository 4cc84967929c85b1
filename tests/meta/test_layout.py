"""The layout stands: what the packages ended stays away, and the documents name the modules that there are."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "unisono"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [path for path in FILES if not path.name.startswith("__")]
PACKAGES = sorted({path.parent.relative_to(SOURCE) for path in FILES} - {Path()})
LAYOUT, ARCHITECTURE = ROOT / "docs" / "layout.md", ROOT / "docs" / "architecture.md"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

ENDED = {  # what a lineup, backends and contexts have made unnecessary
    "a number of drafters beside the members": r"\bdrafts: int\b",
    "a combination that is asked for its negative prompt": r"\btakes_negative\b",
    "a member that is no member for the type checker": r"\bcast\(Any\b",
    "parts that are watched by patching them": r"\bunittest\.mock\b|\bmethod-assign\b",
    "a function that gives anything": r"\bCallable\[\[\], Any\]",
    # A turn's members are who runs, a configuration's are what a user listed: neither tells members and drafters apart
    "members that are counted": r"\blen\(\s*(?!turn\.|config\.)(?:[\w.\[\]]*[._])?members\s*\)",
}
BACKEND_CLASS = r"\bHFMember\b"

DOTTED = re.compile(r"\bunisono(?:\.[a-z]\w*)+")
PYTHON_FILE = re.compile(r"(?<![\w./<>{-])[\w./-]*\w\.py\b")
NAMED_MODULE = re.compile(r"`(\w+)`: ")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def lines_with(pattern: str, paths: list[Path]) -> list[str]:
    """`file:line text` of each line that the pattern is found in."""
    return [
        f"{path.relative_to(SOURCE)}:{number} {line.strip()}"
        for path in paths
        for number, line in enumerate(read(path).splitlines(), 1)
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("pattern", ENDED.values(), ids=list(ENDED))
def test_what_was_ended_is_gone(pattern: str):
    lineup = SOURCE / "members" / "lineup.py"
    assert lines_with(pattern, [path for path in FILES if path != lineup]) == []


def test_the_loop_knows_nothing_of_auto():
    """`auto` is a schedule like any other: the loop asks its policy, and tells it events."""
    imports = r"^\s*(from|import) unisono\.auto\b|^\s*from unisono import .*\bauto\b"
    assert lines_with(imports, sorted((SOURCE / "decoding").rglob("*.py"))) == []


def test_only_its_backend_knows_a_class_of_members():
    backend = SOURCE / "members" / "hf"
    assert lines_with(BACKEND_CLASS, [path for path in FILES if backend not in path.parents]) == []


@pytest.mark.parametrize(
    ("counted", "found"),
    [
        ("len(members)", True),
        ("len(self._members)", True),
        ("len(ensemble.members) - drafts", True),
        ("len(row.lineup.members)", True),
        ("len(lineup.combined)", False),
        ("len(turn.members)", False),
        ("len(config.members)", False),
        ("len(groups[members])", False),
    ],
)
def test_counted_members_are_recognised(counted: str, found: bool):
    assert bool(re.search(ENDED["members that are counted"], counted)) is found


def says_something(node: ast.stmt) -> bool:
    """Whether a statement of a module is more than its docstring, an import or `__all__`."""
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] != ["__all__"]
    return not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_only_passes_names_on(path: Path):
    """A name has one home; only a package's `__init__` may offer it a second time."""
    assert any(says_something(node) for node in ast.parse(read(path)).body)


def table_rows(path: Path, heading: str) -> Iterator[list[str]]:
    """The cells of the rows of the first table behind a heading."""
    section = read(path).partition(heading)[2]
    table = next(block for block in section.split("\n\n") if block.lstrip().startswith("|"))
    for line in table.strip().splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def described_modules() -> dict[str, list[str]]:
    """Per package, as a path, the modules that architecture.md lists."""
    found = {}
    for package, modules in table_rows(ARCHITECTURE, "## Every module"):
        path = package.strip("`") if package.startswith("`") else "."
        found[path] = NAMED_MODULE.findall(modules)
    return found


def existing_modules() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in MODULES:
        found.setdefault(str(path.parent.relative_to(SOURCE)), []).append(path.stem)
    return found


def test_every_module_is_described_and_every_described_module_exists():
    described = {package: sorted(names) for package, names in described_modules().items()}
    assert described == {package: sorted(names) for package, names in existing_modules().items()}


def test_the_readme_shows_every_package_and_every_flat_module():
    tree = read(ROOT / "README.md").partition("## The code")[2].partition("```\n")[2].partition("```")[0]
    shown = set(re.findall(r"[\w./]+", tree))
    wanted = {f"{path}/" for path in PACKAGES if len(path.parts) == 1} | {
        path.name for path in MODULES if path.parent == SOURCE
    }
    assert wanted <= shown
    parents = (SOURCE, SOURCE / "members", ROOT, ROOT / "docs")
    assert [name for name in shown if name.endswith("/") and not any((each / name).is_dir() for each in parents)] == []


def test_the_page_on_the_layout_can_be_held_in_the_head():
    """It names the packages, each once, and no more than twelve."""
    named = [package.strip("`") for package, _ in table_rows(LAYOUT, "# How the code is laid out")]
    assert sorted(named) == [str(path) for path in PACKAGES if len(path.parts) == 1]
    assert len(named) <= 12


def test_the_page_on_the_layout_has_the_order_of_the_contract():
    contracts = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["name"] == "One way down")
    wanted = [{name.strip("() ") for name in layer.split("|")} for layer in layers]
    written = re.search(r"^`cli` >[^#]*?\bvalues`", read(LAYOUT), flags=re.MULTILINE)
    assert written is not None
    parts = re.findall(r"`([^`]+)`", written[0])
    assert [{name.strip() for name in part.split("|")} for part in parts] == wanted


def exists_as_file(name: str) -> bool:
    """Whether a path, or its last part alone, is that of a file in this repository."""
    folders = [ROOT / name for name in ("src", "tests", "benchmarks", "zoo")]
    parts = Path(name).parts
    return (ROOT / name).is_file() or any(
        path.parts[-len(parts) :] == parts for folder in folders for path in folder.rglob(parts[-1])
    )


def exists_as_name(dotted: str) -> bool:
    """Whether `unisono.x.y` is a package, a module, or a name in one."""
    place = SOURCE
    for part in dotted.split(".")[1:]:
        if (place / part).is_dir():
            place = place / part
        elif (place / f"{part}.py").is_file():
            place = place / f"{part}.py"
        else:
            file = place if place.is_file() else place / "__init__.py"
            return bool(re.search(rf"\b{part}\b", read(file)))
    return True


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_files_that_exist(path: Path):
    assert {name for name in PYTHON_FILE.findall(read(path)) if not exists_as_file(name)} == set()


@pytest.mark.parametrize("path", [*DOCUMENTS, *FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_import_paths_exist_wherever_they_are_written(path: Path):
    """An old path in a document or an error message sends its reader to nothing."""
    assert {name for name in DOTTED.findall(read(path)) if not exists_as_name(name)} == set()


def test_old_import_paths_are_recognised():
    old = ("unisono.schedules", "unisono.rng", "unisono.edits", "unisono.verify", "unisono.settling.settle")
    assert not any(exists_as_name(name) for name in old)
    assert not any(exists_as_file(name) for name in ("members/hf.py", "choosing.py", "certainty.py"))
    assert exists_as_name("unisono.decoding.cos")
    assert exists_as_file("decoding/settling.py")


def test_the_example_of_a_member_runs():
    section = read(ARCHITECTURE).partition("## What the loop asks of a member")[2].partition("\n## ")[0]
    example = re.search(r"^```python\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)
    assert example is not None
    exec(compile(example[1], str(ARCHITECTURE), "exec"), {})


def names_of_the_diagram() -> tuple[set[str], set[str]]:
    """The names in the labels of the diagram: classes with or without an attribute, and functions."""
    diagram = read(ARCHITECTURE).partition("```mermaid")[2].partition("```")[0]
    labels = " ".join(re.findall(r'"([^"]*)"', diagram))
    return set(re.findall(r"\b[A-Z]\w+(?:\.\w+)?", labels)), set(re.findall(r"\b(\w+)\(\)", labels))


def defined(name: str) -> bool:
    """Whether a class has the attribute, as in `Row.settle`, or exists, as in `Row`."""
    owner, _, attribute = name.partition(".")
    homes = [text for text in map(read, FILES) if re.search(rf"^class {owner}\b", text, flags=re.MULTILINE)]
    return any(re.search(rf"^    (?:def )?{attribute}\b", text, flags=re.MULTILINE) for text in homes)


def test_every_name_in_the_diagram_exists():
    classes, functions = names_of_the_diagram()
    assert {"Policy.draws", "View", "Frontier"} <= classes
    assert {"settle", "look"} <= functions
    assert [name for name in classes if not defined(name)] == []
    assert [name for name in functions if not any(f"\ndef {name}(" in read(path) for path in FILES)] == []
    assert not defined("Row.pilot")
    assert not defined("Experience")
