"""The commands. What does their work is imported when they run, so that help needs neither torch nor transformers."""

from typing import Annotated

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


@app.command()
@with_options
def generate(options: GenerateOptions) -> None:
    """Generate text with several models at once."""
    from unisono.cli.generate import run

    run(options)


@app.command()
@with_options
def chat(options: ChatOptions) -> None:
    """Talk with several models at once; /help lists what can be changed on the way."""
    from unisono.cli.chat import run

    run(options)


@app.command()
@with_options
def serve(options: ServeOptions) -> None:
    """Serve models behind OpenAI's API, with a playground at / and metrics at /metrics."""
    from unisono.cli.serve import run

    run(options)


@app.command()
@with_options
def members(options: MembersOptions) -> None:
    """List the bundled models, or say whether the given members can be combined, and why not."""
    from unisono.cli.members import run

    run(options)


@app.command("eval")
@with_options
def evaluate(options: EvalOptions) -> None:
    """Measure members and combinations on the same items: score, paired gain, speed, forwards."""
    from unisono.cli.eval import run

    run(options)


@app.command("fit-tree")
@with_options
def fit_tree(options: FitTreeOptions) -> None:
    """Fit CoSD's tree: the draft is the first member, the assistant the second."""
    from unisono.cli.fit_tree import run

    run(options)


@measurements.callback(invoke_without_command=True)
@with_options
def bench(context: typer.Context, options: BenchOptions) -> None:
    """Measure schedules against standard decoding, interleaved in one run; or profile them with --profile."""
    if context.invoked_subcommand:
        refuse(options, context.invoked_subcommand)
        return
    from unisono.cli.bench import run

    run(options)


@measurements.command()
@with_options
def predict(options: PredictOptions) -> None:
    """Say before a long run which schedule pays, and how much: from a few prompts' laws and the members' speed."""
    from unisono.cli.predict import run

    run(options)
