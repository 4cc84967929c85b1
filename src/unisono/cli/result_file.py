"""A file that a measurement leaves."""

from pathlib import Path

from unisono.errors import ConfigurationError


def write(path: Path, text: str) -> None:
    """Write the text.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the result cannot be written: {path} ({error.strerror})") from None
