"""The bundled models: three small Llama models of Python code that share one tokenizer.

It knows names and folders only. The one idea: a bundled model is an ordinary model folder, so a path is all that a
caller needs.
How they were made is in the repository's `zoo/` and in each folder's `README.md`.
"""

from pathlib import Path

from unisono.errors import MemberError, unknown

__all__ = ["names", "path"]

_WEIGHTS = Path(__file__).parent / "weights"


def names() -> list[str]:
    """The names that `path` accepts, sorted."""
    return sorted(file.parent.name for file in _WEIGHTS.glob("*/config.json"))


def path(name: str) -> Path:
    """The folder of a bundled model, for `from_pretrained`.

    Raises:
        MemberError: there is no such model; the message names the nearest one.
    """
    if name not in names():
        raise MemberError(str(unknown("bundled model", name, names())))
    return _WEIGHTS / name
