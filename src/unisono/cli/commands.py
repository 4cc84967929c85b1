"""The commands with their names, options and help.

The module that implements a command is imported when the command runs. Help texts do not need these modules, so
`--help` imports neither torch nor transformers.
"""

from importlib import import_module
from typing import Annotated, Any

import typer

from unisono import __version__
from unisono.cli.options.bench import BenchOptions, PredictOptions, refuse
from unisono.cli.options.chat import ChatOptions
from unisono.cli.options.eval import EvalOptions
from unisono.cli.options.fit_tree import FitTreeOptions
from unisono.cli.options.generate import GenerateOptions
from unisono.cli.options.members import MembersOptions
from unisono.cli.options.serve import ServeOptions
from unisono.cli.signature import with_options

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
measurements = typer.Typer(help="Measure schedules against standard decoding, interleaved in one run.")
app.add_typer(measurements, name="bench")


def _version(asked: bool) -> None:
    if asked:
        print(f"unisono {__version__}")
        raise typer.Exit


@app.callback()
def unisono(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Many models, one voice: decode one text with several language models, exactly."""


def _add(parent: typer.Typer, name: str, options: type, help: str) -> None:
    """Add a command. The command calls `run` of the module in `unisono.cli` that has the name of the command."""

    def command(asked: Any) -> None:
        import_module(f"unisono.cli.{name.replace('-', '_')}").run(asked)

    command.__annotations__["asked"] = options
    parent.command(name, help=help)(with_options(command))


_add(app, "generate", GenerateOptions, "Generate text with several models at once.")
_add(app, "chat", ChatOptions, "Talk with several models at once; /help lists what can be changed on the way.")
_add(app, "serve", ServeOptions, "Serve models behind OpenAI's API, with a playground at / and metrics at /metrics.")
_add(
    app,
    "members",
    MembersOptions,
    "List the bundled models, or say whether the given members can be combined, and why not.",
)
_add(
    app,
    "eval",
    EvalOptions,
    "Measure members and combinations on the same items: score, paired gain, speed, forwards.",
)
_add(app, "fit-tree", FitTreeOptions, "Fit CoSD's tree: the draft is the first member, the assistant the second.")
_add(
    measurements,
    "predict",
    PredictOptions,
    "Say before a long run which schedule pays, and how much: from a few prompts' laws and the members' speed.",
)


@measurements.callback(invoke_without_command=True)
@with_options
def bench(context: typer.Context, options: BenchOptions) -> None:
    """Measure schedules against standard decoding, interleaved in one run; or profile them with --profile."""
    if context.invoked_subcommand:
        refuse(options, context.invoked_subcommand)
        return
    from unisono.cli.bench import run

    run(options)
