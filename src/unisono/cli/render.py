"""The line under a generated text, and the line that says what went wrong."""

import sys

from unisono.types import Result


def summary(result: Result) -> str:
    """One line: tokens, speed, acceptance, forwards per member, and what was used."""
    stats = result.stats
    acceptance = "none proposed" if stats.acceptance is None else f"{stats.acceptance:.2f}"
    forwards = ", ".join(f"{member.name} {member.forwards}" for member in stats.members)
    return (
        f"{stats.tokens} tokens, {stats.tokens_per_second:.1f} tokens/s, acceptance {acceptance}, forwards {forwards} "
        f"({result.combination}, {result.schedule}, seed {result.seed}, {result.finish_reason})"
    )


def complain(message: str) -> None:
    """One line on standard error."""
    print(f"unisono: error: {' '.join(message.split())}", file=sys.stderr)
