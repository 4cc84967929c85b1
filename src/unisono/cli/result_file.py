"""Checks and functions for the files to which a measurement writes its results."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unisono.errors import ConfigurationError, RequestError


def require_writable(*files: Path | None, folder: Path | None = None) -> None:
    """Check that the results of a measurement can be written. Call this function before the measurement.

    Args:
        files: the paths of result files. Their folders must exist. Values that are None are ignored.
        folder: a folder for results. The folder need not exist yet.

    Raises:
        RequestError: a file or the folder cannot be written.
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
    """Raise ConfigurationError if matplotlib is not installed. The message names the option that needs matplotlib."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError(f"{option} needs matplotlib; install it with: pip install 'unisono[plots]'")


def write(path: Path, text: str) -> None:
    """Write a text to a file.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the result cannot be written: {path} ({error.strerror})") from None


def write_json(path: Path | None, document: dict[str, Any]) -> None:
    """Write a document as JSON to a file. Do nothing if the path is None.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if path is not None:
        write(path, json.dumps(document, indent=1) + "\n")
