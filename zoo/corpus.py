"""Collect the training text: read the source files, filter them, drop near-duplicates, split and hash.

Every decision depends only on the bytes of files and on their paths inside the packages. So two machines with the same
packages build the same corpus.
"""

import argparse
import hashlib
import json
import platform
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from zoo.sources import HELD_OUT_PACKAGE, MISSING, SOURCES, Source

SKIPPED_FOLDERS = frozenset(
    "tests test testing encodings idlelib lib2to3 pydoc_data turtledemo ensurepip site-packages __pycache__"
    " _vendor vendored vendor thirdparty benchmarks generated _generated _bundled sample_data typeshed"
    " lib-dynload __phello__ config testdata".split()
)
SKIPPED_NAME = re.compile(r"^test_|_test\.py$|_tests\.py$|^conftest\.py$|^_.*_builtins\.py$|testing_utils|common_utils")
GENERATED = re.compile(r"(auto-?\s?(matically)?[- ]?generated|generated (by|from|using)|do not edit)", re.IGNORECASE)
LICENCE_WORDS = re.compile(r"licen[sc]e|copyright|all rights reserved", re.IGNORECASE)
SMALLEST, LARGEST, LONGEST_LINE = 300, 512_000, 500
SEEN_SHARE = 0.5  # a file is a near-duplicate if more of its long lines than this share were in earlier files
HELD_OUT_SHARE = 0.02
SNAPSHOT = Path(__file__).parent / "runs" / "corpus.jsonl"
SUMMARY = Path(__file__).parent / "corpus.json"


@dataclass(frozen=True)
class File:
    """One accepted file. `digest` is the SHA-256 of its bytes on disk; `text` is the cleaned text that models read."""

    package: str
    quarter: str
    path: str
    digest: str
    text: str

    @property
    def held_out(self) -> bool:
        """Whether the file is held out. The hash alone decides this, so a file never moves between the splits."""
        return self.package != HELD_OUT_PACKAGE and fraction(self.digest) < HELD_OUT_SHARE


def fraction(digest: str) -> float:
    """Return a number in [0, 1) that depends on the digest only."""
    return int(digest[:13], 16) / 16**13


def strip_header(text: str) -> str:
    """Return the text without the comment block at its beginning if that block is a licence."""
    lines = text.lstrip("\ufeff").splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("#") and line.strip()), len(lines))
    header = "".join(lines[:end])
    return "".join(lines[end:]) if LICENCE_WORDS.search(header) else "".join(lines)


def is_wanted_path(relative: Path) -> bool:
    """Return whether the names of folders and file suggest source code that a person wrote."""
    return not (SKIPPED_FOLDERS & set(relative.parts[:-1]) or SKIPPED_NAME.search(relative.name))


def is_wanted_text(text: str) -> bool:
    """Return whether simple statistics suggest that the text is no table, generated file or output of a program."""
    if not SMALLEST <= len(text) <= LARGEST or GENERATED.search(text[:1500]):
        return False
    if max(map(len, text.split("\n"))) > LONGEST_LINE:
        return False
    raw = text.encode()
    digits = sum(character.isdigit() for character in text) / len(text)
    foreign = 1 - len(text) / len(raw)
    ratio = len(raw) / len(zlib.compress(raw, 6))
    return digits < 0.12 and foreign < 0.02 and ratio < 8.5


def read(path: Path) -> tuple[str, str] | None:
    """Return the digest and the cleaned text of a file, or None if the file is not UTF-8."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return hashlib.sha256(raw).hexdigest(), strip_header(text.replace("\r\n", "\n"))


def walk(source: Source) -> Iterator[File]:
    """Yield the files of a package that pass the filters, in the order of their paths."""
    folder = source.folder()
    for root in source.roots:
        start = folder / root
        for path in [start] if start.is_file() else sorted(start.rglob("*.py")):
            relative = path.relative_to(folder)
            if not is_wanted_path(relative):
                continue
            found = read(path)
            if found and is_wanted_text(found[1]):
                yield File(source.name, source.quarter, relative.as_posix(), *found)


def without_near_duplicates(files: Iterable[File]) -> Iterator[File]:
    """Yield the files without near-duplicates: files most of whose long lines are in earlier files, of any split."""
    seen: set[int] = set()
    for file in files:
        lines = {hash(line) for line in map(str.strip, file.text.split("\n")) if len(line) > 20}
        if len(lines & seen) <= SEEN_SHARE * len(lines):
            seen |= lines
            yield file


def capped(files: Iterable[File], cap: int) -> list[File]:
    """Return the first files in the order of hashes that have at most `cap` bytes together, sorted by path."""
    kept, total = [], 0
    for file in sorted(files, key=lambda file: file.digest):
        total += size([file])
        if total > cap:
            break
        kept.append(file)
    return sorted(kept, key=lambda file: file.path)


def collect(sources: Iterable[Source] = SOURCES) -> list[File]:
    """Return the files of the corpus: filtered, without near-duplicates and limited per package."""
    caps = {source.name: source.cap for source in sources}
    per_package: dict[str, list[File]] = defaultdict(list)
    for file in without_near_duplicates(file for source in sources for file in walk(source)):
        per_package[file.package].append(file)
    return [file for name, files in per_package.items() for file in capped(files, caps[name])]


def training_files(files: Iterable[File], model: str) -> list[File]:
    """Return the files that `model` is trained on: without held-out files and the quarters that it must not read."""
    absent = {"held-out", *MISSING[model]}
    return [file for file in files if not file.held_out and file.quarter not in absent]


def summary(files: Iterable[File]) -> dict[str, dict[str, str | int]]:
    """Return version, licence, quarter, counts and one SHA-256 over the sorted file digests, per package."""
    groups: dict[str, list[File]] = defaultdict(list)
    for file in files:
        groups[file.package].append(file)
    licences = {source.name: source.licence for source in SOURCES}
    return {
        name: {
            "version": platform.python_version() if name == "python" else version(name),
            "licence": licences[name],
            "quarter": group[0].quarter,
            "files": len(group),
            "bytes": size(group),
            "held_out_files": sum(file.held_out for file in group),
            "sha256": hashlib.sha256("\n".join(sorted(file.digest for file in group)).encode()).hexdigest(),
        }
        for name, group in sorted(groups.items())
    }


def size(files: Iterable[File]) -> int:
    return sum(len(file.text.encode()) for file in files)


def write_snapshot(files: Iterable[File], path: Path = SNAPSHOT) -> None:
    """Write the corpus as one JSON line per file, so that an upgrade of a package does not change a later training run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(file)) + "\n" for file in files), encoding="utf-8")


def read_snapshot(path: Path = SNAPSHOT) -> list[File]:
    with path.open(encoding="utf-8") as lines:
        return [File(**json.loads(line)) for line in lines]


def write_summary(files: list[File], path: Path = SUMMARY) -> None:
    """Write the facts that the cards state about the corpus: every package, and the training files of each model."""
    models = {name: training_files(files, name) for name in MISSING}
    training = {name: {"files": len(kept), "bytes": size(kept)} for name, kept in models.items()}
    path.write_text(json.dumps({"packages": summary(files), "training": training}, indent=1) + "\n")


def main() -> None:
    """Collect the corpus; write the snapshot that training reads and the summary that the cards read."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    files = collect()
    write_snapshot(files)
    write_summary(files)


if __name__ == "__main__":
    main()
