"""Read files for evaluation: JSON lines with named fields, or plain texts."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from unisono.errors import RequestError

DEVELOPMENT_SHARE = 0.5
T = TypeVar("T")


def read_records(path: str | Path, fields: Sequence[str], lines: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the named fields of each record in a file of JSON lines.

    The fields in `lines` must not contain a line break.

    Raises:
        RequestError: the file cannot be read, a line is not JSON, or a field is missing, is not a text, or has a
            forbidden line break. The message names file and line.
    """
    records = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{path}:{number} is not JSON: {error}; write one object per line") from None
        for field in fields:
            if not isinstance(record, dict) or not isinstance(record.get(field), str):
                wanted = ", ".join(f'"{name}": "..."' for name in fields)
                raise RequestError(f"{path}:{number} has no text {field!r}; each line needs {{{wanted}}}")
        for field in lines:
            if "\n" in record[field]:
                raise RequestError(f"{path}:{number}: {field!r} has a line break, where answers end; take it out")
        records.append({field: record[field] for field in fields})
    if not records:
        raise RequestError(f"{path} is empty; write one JSON object per line")
    return records


def read_documents(path: str | Path) -> list[str]:
    """Return the documents in a file.

    A `.jsonl` file has one document per line, in the field `text`. The text of any other file is one document.

    Raises:
        RequestError: the file cannot be read, or has no text.
    """
    if str(path).endswith(".jsonl"):
        return [record["text"] for record in read_records(path, ["text"])]
    text = _read(path)
    if not text.strip():
        raise RequestError(f"{path} is empty; give a file with text")
    return [text]


def halves(values: Sequence[T], texts: Sequence[str]) -> tuple[list[T], list[T]]:
    """Split values into one half for tuning and one half for the test, by the hash of the text of each value.

    Values with equal texts are in the same half.

    Raises:
        RequestError: a half is empty.
    """
    found: tuple[list[T], list[T]] = ([], [])
    for value, text in zip(values, texts, strict=True):
        found[fraction(text) >= DEVELOPMENT_SHARE].append(value)
    if not all(found):
        raise RequestError(f"{len(values)} texts are too few to tune on some and test on others; give more")
    return found


def fraction(text: str) -> float:
    """Return a number in [0, 1) that is computed from the hash of the text."""
    return int(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:13], 16) / 16**13


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"file cannot be read: {path} ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"file is not UTF-8 text: {path} ({error.reason} at byte {error.start})") from None
