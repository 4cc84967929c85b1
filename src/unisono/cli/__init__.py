"""The `unisono` command.

For wrong input, the command prints one line on standard error, without a traceback, and exits with code 2.

Heavy imports take seconds. These imports run inside `main`, so that Ctrl-C during an import prints one line too.
"""

import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any

__all__ = ["app", "main"]
INTERRUPTED = 130  # the exit code in shells of a process that SIGINT ended


def main() -> None:
    """Run the command line and exit with its exit code."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    before = None
    with suppress(ValueError):  # signal handlers can be set in the main thread only
        before = signal.signal(signal.SIGINT, _interrupt)
    try:
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
    if code == INTERRUPTED:
        print("unisono: interrupted", file=sys.stderr)
    sys.exit(code)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from unisono.cli.commands import app

    return app


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt. If an import is running, end the process at once instead.

    KeyboardInterrupt is not reliable in an import: the import may replace this error by another error or ignore it.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            print("unisono: interrupted", file=sys.stderr, flush=True)
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _run() -> int:
    from unisono.cli.cores import settle

    settle()  # before torch is imported
    from typer import Abort
    from typer.exceptions import TyperException
    from typer.main import get_command

    from unisono.cli.commands import app
    from unisono.errors import UnisonoError

    try:
        code = int(get_command(app).main(standalone_mode=False) or 0)
        sys.stdout.flush()
        return code
    except TyperException as error:
        return _fail(error.format_message())
    except UnisonoError as error:
        return _fail(str(error))
    except Abort:
        return INTERRUPTED
    except Exception as error:
        if told := _of_a_combination(error):
            return _fail(told)
        if not isinstance(error, OSError):
            raise
        return _unwritten(error)


def _of_a_combination(error: Exception) -> str | None:
    """Return the message for an error that a user-defined combination has raised, or None for any other error.

    The message names the file and the line in which the error was raised.
    """
    base = sys.modules.get("unisono.combine.base")
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    calls = [frame.f_locals["combination"] for frame in frames if base and frame.f_code is base.target_law.__code__]
    if not calls or not calls[-1].checked:
        return None
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(place.filename)}, line {place.lineno}"
    return f"combination {calls[-1].name} failed ({type(error).__name__}: {error}; {where})"


def _unwritten(error: OSError) -> int:
    """Return the exit code after a failed write to standard output.

    Print an error message unless the program that reads the output, for example `head`, has closed the pipe.
    """
    # Discard the rest of the output. Otherwise Python would report an error at the end of the process
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 1
    return _fail(f"the output cannot be written ({error.strerror or error})")


def _fail(message: str) -> int:
    if message:  # empty if help was printed
        complain(message)
    return 2


def complain(message: str) -> None:
    """Print an error message as one line on standard error."""
    print(f"unisono: error: {' '.join(message.split())}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"unisono: warning: {message}", file=sys.stderr)
