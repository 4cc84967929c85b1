"""The bundled models: small Llama models for Python code and for text exercises.

Each model is a folder for `from_pretrained`, with a `README.md` that describes the model. The scripts that made the
models are in `zoo/` of the repository.
"""

from pathlib import Path

from unisono.errors import MemberError, unknown

__all__ = ["names", "path"]

_WEIGHTS = Path(__file__).parent / "weights"


def names() -> list[str]:
    """Return the sorted names of the bundled models."""
    return sorted(file.parent.name for file in _WEIGHTS.glob("*/config.json"))


def path(name: str) -> Path:
    """Return the folder of a bundled model. `from_pretrained` accepts this folder.

    Raises:
        MemberError: no bundled model has this name. The message gives the most similar name.
    """
    if name not in names():
        raise MemberError(str(unknown("bundled model", name, names())))
    return _WEIGHTS / name
