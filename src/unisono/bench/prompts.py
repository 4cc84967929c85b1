"""Prompts for benchmarks: bundled texts, a file, or the data sets of the CoS paper.

A record of a file or of a data set has named fields. The names select the form of the prompt in `FORMS`. The CoS paper
does not print its templates. The forms in this module are plain texts for models without a chat template.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from unisono.errors import ConfigurationError, RequestError

_DATA = yaml.safe_load((Path(__file__).parent / "data" / "prompts.yaml").read_text(encoding="utf-8"))
PYTHON: tuple[str, ...] = tuple(_DATA["python"])
# The prompt of an edit contains most of the right continuation
EDITS = tuple(text.format(**_DATA["blocks"]) for text in _DATA["edits"])
# Texts to score; no text repeats parts of itself
PLAIN = (*PYTHON, *(_DATA["blocks"][name] for name in ("cart", "reader", "settings", "checks")))
BUNDLED: dict[str, Sequence[str]] = {"python": PYTHON, "edits": EDITS}


def _choices(record: Mapping[str, Any]) -> str:
    """Return the prompt for an MMLU record: the question, the choices with letters, and `Answer:`."""
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCDEFGH", record["choices"], strict=False))
    return f"{record['question'].strip()}\n{choices}\nAnswer:"


FORMS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], str]], ...] = (
    (("question", "choices"), _choices),  # MMLU
    (("question",), lambda record: f"Question: {record['question'].strip()}\nAnswer:"),  # GSM8K
    (("article",), lambda record: f"{record['article'].strip()}\n\nTL;DR:"),  # CNN/DailyMail
    (("prompt",), lambda record: str(record["prompt"])),  # HumanEval, and other complete prompts
    (("text",), lambda record: str(record["text"])),
)
SUFFIXES = (".txt", ".jsonl", ".json", ".md")
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+(:[^/]*)?")
HUB: dict[str, list[str | None]] = _DATA["hub"]  # name -> hub id, configuration, split


def read(source: str, count: int) -> list[str]:
    """Return the first `count` prompts of a source. Return all prompts if the source has fewer.

    Args:
        source: `python` or `edits` (bundled), a file (JSON lines, or texts, one per line), `gsm8k`, `humaneval`,
            `mmlu`, `cnn_dailymail`, or the hub id of another data set, as OWNER/NAME or OWNER/NAME:CONFIGURATION:SPLIT.

    Raises:
        RequestError: the source cannot be read, or the fields of a record match no form. The message names file and
            line.
        ConfigurationError: the package `datasets` is not installed.
    """
    if source in BUNDLED:
        return list(BUNDLED[source][:count])
    path = Path(source)
    if path.is_file() or not (source in HUB or HUB_ID.fullmatch(source)) or path.suffix in SUFFIXES:
        found = _lines(path)[:count]
    else:
        found = [prompt(record, source, index) for index, record in enumerate(_hub(source, count), 1)]
    if not found:
        raise RequestError(f"there is no prompt in the file: {source}")
    return found


def prompt(record: Any, where: str, number: int) -> str:
    """Return the prompt for a record.

    Args:
        where: the source of the record, for the error message.
        number: the line of the record, for the error message.

    Raises:
        RequestError: the fields of the record match no form.
    """
    for fields, form in FORMS:
        if isinstance(record, Mapping) and all(field in record for field in fields):
            try:
                return form(record)
            except (AttributeError, TypeError):
                raise RequestError(f"{where}:{number} has no texts as {', '.join(fields)}: give texts") from None
    wanted = "; ".join(", ".join(fields) for fields, _ in FORMS)
    raise RequestError(f"{where}:{number} has none of the fields that make a prompt; give one of: {wanted}")


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"prompts cannot be read: {path} ({error})") from None
    if path.suffix != ".jsonl":
        return lines
    return [_parsed(line, str(path), number) for number, line in enumerate(lines, 1)]


def _parsed(line: str, where: str, number: int) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise RequestError(f"{where}:{number} is not JSON: {error}; write one object per line") from None
    return prompt(record, where, number)


@functools.lru_cache(maxsize=8)
def _hub(source: str, count: int) -> tuple[Any, ...]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise ConfigurationError(
            f"prompts from the hub need datasets; install it with: pip install 'unisono[data]', or give a file, not: {source}"
        ) from None
    name, configuration, split = HUB.get(source) or [*source.split(":"), None, None][:3]
    try:
        records = load_dataset(name, configuration, split=split or "test", streaming=True)
        return tuple(records.take(count))
    except Exception as error:  # the hub, the network and the data set raise many types of errors
        reason = " ".join(str(error).split())[:160]
        raise RequestError(f"the data set cannot be read: {source} ({reason}); give a file of JSON lines") from None
