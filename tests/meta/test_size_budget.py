"""Small files, small functions, and nobody golfs to get there.

Lines of a function are those from its signature to its end without the docstring. Tokens are Python's own, without
comments, docstrings and line ends.
"""

import ast
import io
import statistics
import tokenize
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "unisono"
FILES = sorted(SOURCE.rglob("*.py"))

FILE_MEDIAN, FILE_MAX = 150, 300
FUNCTION_MEDIAN, FUNCTION_P95, FUNCTION_MAX = 10, 40, 60
TOKENS_PER_LINE_FILE, TOKENS_PER_LINE_MAX = 14.0, 50
LINES_FOR_A_MEAN = 20  # a formula or two alone have no typical line
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef | ast.Module


def docstring_lines(node: ast.AST) -> set[int]:
    """The numbers of the lines that the node's docstring occupies."""
    if not isinstance(node, Documented) or ast.get_docstring(node) is None:
        return set()
    first = node.body[0]
    return set(range(first.lineno, (first.end_lineno or first.lineno) + 1))


@cache
def functions() -> dict[str, int]:
    """Lines of every function of the library, without docstrings."""
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1 - len(docstring_lines(node))
                found[f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"] = lines
    return found


@cache
def tokens_per_line(path: Path) -> dict[int, int]:
    """Tokens on every line of code of a file."""
    text = path.read_text(encoding="utf-8")
    documentation = set().union(*(docstring_lines(node) for node in ast.walk(ast.parse(text))))
    counts: dict[int, int] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SKIPPED and token.start[0] not in documentation:
            counts[token.start[0]] = counts.get(token.start[0], 0) + 1
    return counts


def longest(sizes: dict[str, int], limit: float) -> dict[str, int]:
    return {name: size for name, size in sorted(sizes.items(), key=lambda item: -item[1]) if size > limit}


def test_files_are_short():
    lines = {str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert longest(lines, FILE_MAX) == {}
    assert statistics.median(lines.values()) <= FILE_MEDIAN


def test_functions_are_short():
    sizes = functions()
    assert longest(sizes, FUNCTION_MAX) == {}
    assert statistics.median(sizes.values()) <= FUNCTION_MEDIAN
    over = longest(sizes, FUNCTION_P95)
    assert len(over) <= 0.05 * len(sizes), over


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_lines_are_not_crammed(path: Path):
    counts = tokens_per_line(path)
    assert {line: count for line, count in counts.items() if count > TOKENS_PER_LINE_MAX} == {}
    assert len(counts) < LINES_FOR_A_MEAN or statistics.mean(counts.values()) <= TOKENS_PER_LINE_FILE
