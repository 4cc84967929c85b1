"""The `unisono` command. Wrong input is answered by one line on standard error and exit code 2, never a traceback."""

import os
import sys
import warnings
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from unisono import __version__
from unisono.cli.bench import app as bench
from unisono.cli.chat import chat
from unisono.cli.eval import evaluate
from unisono.cli.fit_tree import fit_tree
from unisono.cli.generate import generate
from unisono.cli.members import members
from unisono.cli.serve import serve
from unisono.errors import UnisonoError

__all__ = ["app", "main"]


def _version(asked: bool) -> None:
    if asked:
        print(f"unisono {__version__}")
        raise typer.Exit


app = typer.Typer(
    help="Many models, one voice: decode one text with several language models, exactly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(generate)
app.add_typer(bench, name="bench")
app.command()(chat)
app.command()(serve)
app.command()(members)
app.command("eval")(evaluate)
app.command("fit-tree")(fit_tree)


@app.callback()
def unisono(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Many models, one voice: decode one text with several language models, exactly."""


def main() -> None:
    """Run the command line and exit with its code."""
    sys.path.insert(0, os.getcwd())  # so that `--combine module:function` finds a module beside the user
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
        print(f"unisono: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"unisono: warning: {message}", file=sys.stderr)
