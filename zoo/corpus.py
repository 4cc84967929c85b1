"""Collects the training text: walk the sources, filter, drop near-duplicates, split, hash.

The one idea: every decision depends on the bytes of a file (or its path inside its package), never on
the order of the walk or on chance, so two machines with the same packages build the same corpus.
It does not know tokens or models.
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
SEEN_SHARE = 0.5  # of a file's substantial lines: above it the file is a near-duplicate
HELD_OUT_SHARE = 0.02
SNAPSHOT = Path(__file__).parent / "runs" / "corpus.jsonl"
SUMMARY = Path(__file__).parent / "corpus.json"


@dataclass(frozen=True)
class File:
    """One accepted file: `digest` is the SHA-256 of its bytes on disk, `text` is what models read."""

    package: str
    quarter: str
    path: str
    digest: str
    text: str

    @property
    def held_out(self) -> bool:
        """Decided by the hash alone, so that a file never moves between the splits."""
        return self.package != HELD_OUT_PACKAGE and fraction(self.digest) < HELD_OUT_SHARE


def fraction(digest: str) -> float:
    """A number in [0, 1) that the digest fixes."""
    return int(digest[:13], 16) / 16**13


def strip_header(text: str) -> str:
    """Without the leading comment block if it is a licence: thousands of equal copies teach nothing."""
    lines = text.lstrip("\ufeff").splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("#") and line.strip()), len(lines))
    header = "".join(lines[:end])
    return "".join(lines[end:]) if LICENCE_WORDS.search(header) else "".join(lines)


def is_wanted_path(relative: Path) -> bool:
    """Whether the path is source that a person wrote, judged by its folders and its name."""
    return not (SKIPPED_FOLDERS & set(relative.parts[:-1]) or SKIPPED_NAME.search(relative.name))


def is_wanted_text(text: str) -> bool:
    """Rejects tables, generated files and machine output by cheap statistics of the text."""
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
    """The digest and the cleaned text, or None if it is not UTF-8."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return hashlib.sha256(raw).hexdigest(), strip_header(text.replace("\r\n", "\n"))


def walk(source: Source) -> Iterator[File]:
    """The source's acceptable files in the order of their paths, before duplicates and caps."""
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
    """Drops a file when most of its substantial lines were already seen, whichever split they are in."""
    seen: set[int] = set()
    for file in files:
        lines = {hash(line) for line in map(str.strip, file.text.split("\n")) if len(line) > 20}
        if len(lines & seen) <= SEEN_SHARE * len(lines):
            seen |= lines
            yield file


def capped(files: Iterable[File], cap: int) -> list[File]:
    """Files in hash order until `cap` bytes are full, then back in path order."""
    kept, total = [], 0
    for file in sorted(files, key=lambda file: file.digest):
        total += size([file])
        if total > cap:
            break
        kept.append(file)
    return sorted(kept, key=lambda file: file.path)


def collect(sources: Iterable[Source] = SOURCES) -> list[File]:
    """The whole corpus: every source filtered, free of near-duplicates and capped."""
    caps = {source.name: source.cap for source in sources}
    per_package: dict[str, list[File]] = defaultdict(list)
    for file in without_near_duplicates(file for source in sources for file in walk(source)):
        per_package[file.package].append(file)
    return [file for name, files in per_package.items() for file in capped(files, caps[name])]


def training_files(files: Iterable[File], model: str) -> list[File]:
    """What `model` may read: no held-out file, and not the quarter it misses."""
    absent = {"held-out", *MISSING[model]}
    return [file for file in files if not file.held_out and file.quarter not in absent]


def summary(files: Iterable[File]) -> dict[str, dict[str, str | int]]:
    """Per package: version, licence, quarter, files, bytes and one SHA-256 over its sorted file digests."""
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
    """Bytes of text."""
    return sum(len(file.text.encode()) for file in files)


def write_snapshot(files: Iterable[File], path: Path = SNAPSHOT) -> None:
    """Keeps the corpus as one JSON line per file: upgrading a package must not change a run half way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(file)) + "\n" for file in files), encoding="utf-8")


def read_snapshot(path: Path = SNAPSHOT) -> list[File]:
    """What `write_snapshot` kept."""
    with path.open(encoding="utf-8") as lines:
        return [File(**json.loads(line)) for line in lines]


def write_summary(files: list[File], path: Path = SUMMARY) -> None:
    """What the cards say about the corpus: every package, and what each model trains on."""
    models = {name: training_files(files, name) for name in MISSING}
    training = {name: {"files": len(kept), "bytes": size(kept)} for name, kept in models.items()}
    path.write_text(json.dumps({"packages": summary(files), "training": training}, indent=1) + "\n")


def main() -> None:
    """Collects, and writes the snapshot that training reads and the summary that the cards read."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    files = collect()
    write_snapshot(files)
    write_summary(files)


if __name__ == "__main__":
    main()
