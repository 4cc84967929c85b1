"""The bundled models: three small Llama models of Python code that share one tokenizer.

It knows names and folders only; it loads nothing and imports neither torch nor transformers. The one
idea: a bundled model is an ordinary model folder, so a path is all that a caller needs.
How they were made is in the repository's `zoo/` and in each folder's `README.md`.
"""

from difflib import get_close_matches
from pathlib import Path

__all__ = ["names", "path"]

_WEIGHTS = Path(__file__).parent / "weights"


def names() -> list[str]:
    """The names that `path` accepts, sorted."""
    return sorted(folder.name for folder in _WEIGHTS.iterdir() if (folder / "config.json").is_file())


def path(name: str) -> Path:
    """The folder of a bundled model, for `from_pretrained`; a ValueError lists the names otherwise."""
    known = names()
    if name in known:
        return _WEIGHTS / name
    nearest = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "use one of these names"
    raise ValueError(f"unknown bundled model: {name!r}; there are {', '.join(known)}\nhint: {hint}")
