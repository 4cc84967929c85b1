"""Tokens in a terminal: who proposed them, and which were redrawn."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

from unisono.tokens.detokenizer import Detokenizer
from unisono.types import Commit

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


class Trace:
    """Prints tokens in the colour of the member that proposed them; redrawn ones are reversed.

    Where there are no colours (a file, a pipe), each token stands as `[member]token`, redrawn ones as `[~member]token`.

    Args:
        tokenizer: the members' common one. names: of the members.

    A stop string that ends the text is shown: the trace shows tokens, not the text that is cut out of them.
    """

    def __init__(self, tokenizer: Any, names: Sequence[str], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._detokenizer = Detokenizer(tokenizer)
        for index, name in enumerate(names):
            self.console.print(Text(f" {index} {name} ", COLOURS[index % len(COLOURS)]), end="")
        self.console.print(Text(" redrawn ", "reverse"))

    def token(self, commit: Commit) -> None:
        """Print one token, or hold it back until its character is complete."""
        text = self._detokenizer.push(commit.token)
        if text:
            self.console.print(self._styled(commit, text), end="")

    def _styled(self, commit: Commit, text: str) -> Text:
        redrawn = commit.origin == "redrawn"
        if self.console.color_system is None:
            mark = "=" if commit.member is None else str(commit.member)
            return Text(f"[{'~' if redrawn else ''}{mark}]{text}")
        colour = None if commit.member is None else COLOURS[commit.member % len(COLOURS)]
        return Text(text, Style(color=colour, reverse=redrawn))
