"""Tokens in a terminal: who proposed them, and which were redrawn."""

from collections.abc import Sequence

from rich.console import Console
from rich.style import Style
from rich.text import Text

from unisono.types import Commit, Piece

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


class Trace:
    """Prints tokens in the colour of the member that proposed them; redrawn ones are reversed.

    Where there are no colours (a file, a pipe), each token stands as `[member]token`, redrawn ones as `[~member]token`.

    Args:
        names: of the members.

    A stop string that ends the text is shown: the trace shows tokens, not the text that is cut out of them.
    """

    def __init__(self, names: Sequence[str], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        for index, name in enumerate(names):
            self.console.print(Text(f" {index} {name} ", COLOURS[index % len(COLOURS)]), end="")
        self.console.print(Text(" redrawn ", "reverse"))

    def token(self, piece: Piece) -> None:
        """Print what the piece's token adds to the text."""
        if piece.commit and piece.token_text:
            self.console.print(self._styled(piece.commit, piece.token_text), end="")

    def _styled(self, commit: Commit, text: str) -> Text:
        redrawn = commit.origin == "redrawn"
        if self.console.color_system is None:
            mark = "=" if commit.member is None else str(commit.member)
            return Text(f"[{'~' if redrawn else ''}{mark}]{text}")
        colour = None if commit.member is None else COLOURS[commit.member % len(COLOURS)]
        return Text(text, Style(color=colour, reverse=redrawn))
