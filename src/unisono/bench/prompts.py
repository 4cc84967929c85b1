"""What is decoded from: bundled Python, a user's file, or the data sets of the CoS paper.

A record's fields say which prompt it becomes (`FORMS`), so a data set may come from the hub or from a file of JSON lines.
The paper does not print its templates: these are the plain forms that models without a chat template understand.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unisono.errors import ConfigurationError, RequestError

# Beginnings to decode from; written for this project, not taken from any data set
PYTHON = (
    'def read_csv(path):\n    """Read a CSV file and return its rows as dictionaries."""\n',
    "class LinkedList:\n    def __init__(self):\n        self.head = None\n\n    def append(self, value):\n",
    "import argparse\nimport sys\n\n\ndef main():\n    parser = argparse.ArgumentParser(description=",
    'def normalize(values):\n    """Scale a sequence of numbers so that they sum to one."""\n    total =',
    "class Matrix:\n    def __mul__(self, other):\n        if not isinstance(other, Matrix):\n",
    "def test_parser_raises_on_empty_input():\n    with pytest.raises(ValueError):\n",
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    if n < 2:\n',
    "try:\n    import json\nexcept ImportError:\n",
)

_CART = """class Cart:
    def __init__(self, owner):
        self.owner = owner
        self.items = []

    def add(self, name, price, count):
        item = Item(name, price, count)
        self.items.append(item)
        return item

    def total(self):
        return sum(item.price * item.count for item in self.items)

"""
_READER = """def read_records(path, encoding="utf-8"):
    records = []
    with open(path, encoding=encoding) as stream:
        for line in stream:
            line = line.strip()
            if not line:
                continue
            records.append(json.loads(line))
    return records

"""
_SETTINGS = """SETTINGS = {
    "host": "localhost",
    "port": 8080,
    "timeout": 30,
    "retries": 5,
    "verbose": False,
    "log_level": "warning",
    "cache_size": 1024,
    "workers": 4,
}

"""
_CHECKS = """def check_account(self, account):
    if account.name is None:
        raise ValueError("account has no name")
    if account.email is None:
        raise ValueError("account has no email")
    if account.balance is None:
        raise ValueError("account has no balance")
    if account.owner is None:
        raise ValueError("account has no owner")
    return account

"""
_LOG = """2024-03-01 09:12:44 INFO server started on port 8080
2024-03-01 09:12:51 INFO connection from 10.0.0.7 accepted
2024-03-01 09:13:02 WARNING request took 5.2 seconds
2024-03-01 09:13:09 ERROR database is not available
2024-03-01 09:13:11 INFO connection from 10.0.0.7 closed

"""
_TABLE = """name,country,population,area
Berlin,Germany,3645000,891
Madrid,Spain,3223000,604
Vienna,Austria,1897000,414
Lisbon,Portugal,504000,100
Athens,Greece,664000,39

"""
# Text that is written again with a small change, or read out: most of what follows stands in the prompt already
EDITS = (
    f"{_CART}# The same class, once more:\n{_CART}# The same class, with a method that removes items:\n{_CART[:60]}",
    f"{_READER}# The same function, once more:\n{_READER}# The same function for bytes:\n{_READER[:44]}",
    f"{_SETTINGS}# The same settings:\n{_SETTINGS}# The same settings for tests:\n{_SETTINGS[:38]}",
    f"{_LOG}# The log, read out:\n{_LOG[:52]}",
    f"{_TABLE}# The table, read out:\n{_TABLE[:32]}",
    f"{_CHECKS}# The same checks:\n{_CHECKS}# The same checks, without the owner:\n{_CHECKS[:66]}",
)
PLAIN = (*PYTHON, _CART, _READER, _SETTINGS, _CHECKS)  # each text once, to be scored
BUNDLED: dict[str, Sequence[str]] = {"python": PYTHON, "edits": EDITS}


def _choices(record: Mapping[str, Any]) -> str:
    """MMLU's question, its choices with their letters, and the beginning of the answer."""
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCDEFGH", record["choices"], strict=False))
    return f"{record['question'].strip()}\n{choices}\nAnswer:"


FORMS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], str]], ...] = (
    (("question", "choices"), _choices),  # MMLU
    (("question",), lambda record: f"Question: {record['question'].strip()}\nAnswer:"),  # GSM8K
    (("article",), lambda record: f"{record['article'].strip()}\n\nTL;DR:"),  # CNN/DailyMail
    (("prompt",), lambda record: str(record["prompt"])),  # HumanEval, and prompts as they are
    (("text",), lambda record: str(record["text"])),
)
SUFFIXES = (".txt", ".jsonl", ".json", ".md")
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+(:[^/]*)?")
HUB = {  # name -> hub id, configuration, split
    "gsm8k": ("openai/gsm8k", "main", "test"),
    "humaneval": ("openai/openai_humaneval", None, "test"),
    "mmlu": ("cais/mmlu", "all", "validation"),
    "cnn_dailymail": ("abisee/cnn_dailymail", "3.0.0", "test"),
}


def read(source: str, count: int) -> list[str]:
    """The first prompts of a source.

    Args:
        source: `python` or `edits` (bundled), a file (JSON lines, or texts, one per line), `gsm8k`, `humaneval`, `mmlu`,
            `cnn_dailymail`, or another data set's hub id, as OWNER/NAME or OWNER/NAME:CONFIGURATION:SPLIT.

    Raises:
        RequestError: it cannot be read, or a record has the fields of no form; names file and line.
        ConfigurationError: `datasets` is missing.
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
    """The prompt that a record's fields make; RequestError if the record has the fields of no form."""
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
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RequestError(f"{path}:{number} is not JSON: {error}; write one object per line") from None
        prompts.append(prompt(record, str(path), number))
    return prompts


@functools.lru_cache(maxsize=8)
def _hub(source: str, count: int) -> tuple[Any, ...]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise ConfigurationError(
            f"prompts from the hub need datasets; install it with: pip install 'unisono[data]', or give a file, not: {source}"
        ) from None
    name, configuration, split = HUB.get(source) or (*source.split(":"), None, None)[:3]
    try:
        records = load_dataset(name, configuration, split=split or "test", streaming=True)
        return tuple(records.take(count))
    except Exception as error:  # whatever hub, network and data set may raise
        reason = " ".join(str(error).split())[:160]
        raise RequestError(f"the data set cannot be read: {source} ({reason}); give a file of JSON lines") from None
