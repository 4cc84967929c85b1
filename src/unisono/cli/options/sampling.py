"""Options of every command that samples a text."""

from dataclasses import dataclass
from typing import Annotated

import typer

from unisono.params import SamplingParams


@dataclass(frozen=True)
class SamplingOptions:
    """How a text is sampled; the fields are those of `SamplingParams`, but for `keep_special_tokens`."""

    max_tokens: Annotated[
        int | None, typer.Option(help=f"The most tokens to generate; default {SamplingParams.max_tokens}.")
    ] = None
    temperature: Annotated[
        float | None, typer.Option(help=f"0 takes the most probable token; default {SamplingParams.temperature}.")
    ] = None
    top_k: Annotated[int | None, typer.Option(help="Keep the k most probable tokens; 0 is off.")] = None
    top_p: Annotated[
        float | None, typer.Option(help="Keep the most probable tokens that together have this probability; 1 is off.")
    ] = None
    min_p: Annotated[
        float | None, typer.Option(help="Keep tokens with at least this share of the largest probability; 0 is off.")
    ] = None
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Makes tokens of prompt and output less probable; 1 is off.")
    ] = None
    presence_penalty: Annotated[
        float | None, typer.Option(help="Taken from the logits of tokens that the output has; 0 is off.")
    ] = None
    frequency_penalty: Annotated[
        float | None, typer.Option(help="The same, for each time that they occur; 0 is off.")
    ] = None
    min_tokens: Annotated[int | None, typer.Option(help="The fewest tokens before the text may end.")] = None
    bad_words: Annotated[
        list[str] | None, typer.Option("--bad-word", help="A text that must not occur; repeat it.")
    ] = None
    stop: Annotated[list[str] | None, typer.Option(help="Stop at this text; repeat it.")] = None
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Continue after an end token.")] = False
    keep_special_tokens: Annotated[
        bool, typer.Option("--keep-special-tokens", help="Print special tokens, which are left out otherwise.")
    ] = False
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed and options give the same text on this machine: always in float32; in bfloat16 up to the first "
            "near-tie, unless --deterministic. Without a seed, the text of auto may depend on measured times."
        ),
    ] = None
    negative_prompt: Annotated[
        str | None, typer.Option(help="With guidance: what the second member reads instead of the prompt.")
    ] = None
