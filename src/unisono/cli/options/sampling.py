"""Options of every command that samples a text."""

from dataclasses import dataclass

from unisono.cli.signature import flag, option
from unisono.params import SamplingParams

TRACE = "Colour tokens by the member that proposed them; show rejected proposals."


@dataclass(frozen=True)
class SamplingOptions:
    """Options that say how a text is sampled.

    All fields except `keep_special_tokens` are fields of `SamplingParams`.
    """

    max_tokens: int | None = option(f"The most tokens to generate; default {SamplingParams.max_tokens}.")
    temperature: float | None = option(f"0 takes the most probable token; default {SamplingParams.temperature}.")
    top_k: int | None = option("Keep the k most probable tokens; 0 is off.")
    top_p: float | None = option("Keep the most probable tokens that together have this probability; 1 is off.")
    min_p: float | None = option("Keep tokens with at least this share of the largest probability; 0 is off.")
    repetition_penalty: float | None = option("Makes tokens of prompt and output less probable; 1 is off.")
    presence_penalty: float | None = option("Subtracted from the logits of tokens that the output has; 0 is off.")
    frequency_penalty: float | None = option(
        "Subtracted from the logit of a token for each time that the output has it; 0 is off."
    )
    min_tokens: int | None = option("The fewest tokens before the text may end.")
    bad_words: list[str] | None = option("A text that must not occur; repeat it.", "--bad-word")
    stop: list[str] | None = option("Stop at this text; repeat it.")
    ignore_eos: bool = flag("Continue after an end token.")
    keep_special_tokens: bool = flag("Print special tokens, which are left out otherwise.")
    seed: int | None = option(
        "The same seed and options give the same text on this machine: always in float32; in bfloat16 up to the first "
        "near-tie, unless --deterministic. Without a seed, the text of auto may depend on measured times."
    )
    negative_prompt: str | None = option("With guidance: what the second member reads instead of the prompt.")
