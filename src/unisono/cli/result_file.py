"""A file that a measurement leaves."""

import os
from importlib.util import find_spec
from pathlib import Path

from unisono.errors import ConfigurationError, RequestError


def require_writable(*files: Path | None, folder: Path | None = None) -> None:
    """Before an hour of measuring is lost.

    Args:
        files: each in a folder that exists. folder: it, or one above it, exists.

    Raises:
        RequestError: one of them cannot be written.
    """
    for file in filter(None, files):
        target = file if file.exists() else file.parent
        if file.is_dir() or not (target == file or target.is_dir()) or not os.access(target, os.W_OK):
            raise RequestError(f"cannot be written: {file}; name a file in a folder that exists and may be written to")
    if folder is not None:
        nearest = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise RequestError(f"cannot be written: {folder}; name a folder that can be made and written to")


def require_matplotlib(option: str) -> None:
    """Raise ConfigurationError if matplotlib is missing, before anything long has been run."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError(f"{option} needs matplotlib; install it with: pip install 'unisono[plots]'")


def write(path: Path, text: str) -> None:
    """Write the text; ConfigurationError if the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the result cannot be written: {path} ({error.strerror})") from None
