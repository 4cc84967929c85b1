"""The project's own files agree with each other."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import unisono
from unisono import testing

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_requirement_is_pinned_inside_its_range():
    """What `make` installs is what the ranges promise to work."""
    requirements = [Requirement(text) for texts in (PROJECT["dependencies"], *EXTRAS.values()) for text in texts]
    outside = [
        str(requirement)
        for requirement in requirements
        if not requirement.specifier.contains(pins().get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert outside == []


def test_pins_have_no_local_part():
    """A version as `2.13.0+cpu` exists on no public index."""
    assert [name for name, version in pins().items() if not re.fullmatch(r"[\w.]+", version)] == []


def test_make_targets_named_in_the_documents_exist():
    """Wherever README and CONTRIBUTING say `make something`, it can be made."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        said = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert said <= targets, f"{name}: {said - targets}"


def test_version_has_a_heading_or_is_unreleased():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[({re.escape(unisono.__version__)}|Unreleased)\]", changelog, flags=re.MULTILINE)


def test_citations_name_the_papers_of_all_methods():
    """Every paper that a method's page names can be cited, and the version is this one."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == unisono.__version__
    cited = {reference["url"].rpartition("/")[2] for reference in citation["references"]}
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/methods").glob("*.md")]
    named = {paper for text in pages for paper in re.findall(r"\b(\d{4}\.\d{5})\b", text)}
    assert named - {"2604.07622"} <= cited  # that paper's ensemble has another law; it is named for the difference


def test_stable_surface_names_what_is_there():
    """The page of the stable surface and the code agree."""
    page = (ROOT / "docs/stable-surface.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", page, flags=re.MULTILINE))
    names = re.findall(r"`(\w+)`", rows["`Ensemble`"])
    assert names
    assert [name for name in names if not hasattr(unisono.Ensemble, name)] == []
    names = re.findall(r"`(\w+)`", rows["`unisono.testing`"])
    assert names
    assert [name for name in names if not hasattr(testing, name)] == []
    assert {"Ensemble", "SamplingParams", "Source", "combine"} <= set(unisono.__all__)
