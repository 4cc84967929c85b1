"""The `unisono` command. Wrong input is answered by one line on standard error and exit code 2, never a traceback."""

import sys
import warnings

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from unisono.cli.commands import app
from unisono.cli.render import complain
from unisono.errors import UnisonoError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit with its code."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    sys.exit(_run())


def _run() -> int:
    try:
        return int(get_command(app).main(standalone_mode=False) or 0)
    except TyperException as error:
        return _fail(error.format_message())
    except UnisonoError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except OSError as error:
        return _fail(f"the output cannot be written ({error.strerror or error})")


def _fail(message: str) -> int:
    if message:  # none where help has been printed instead
        complain(message)
    return 2


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"unisono: warning: {message}", file=sys.stderr)
