"""Tokens in a terminal: who proposed them, which were redrawn, and what had been proposed there."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

from unisono.tokens.token_text import token_text
from unisono.types import Commit, Piece

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
LOOKED_UP = Style(color="bright_black", underline=True)
REJECTED = Style(dim=True, strike=True)


class Trace:
    """Prints tokens in the colour of the member that proposed them; those that were looked up in the text are underlined.
    A redrawn token is reversed, and stands behind the proposal that it replaces, which is struck out.

    Where there are no colours (a file, a pipe), each token stands as `[member]token`, a looked-up one as `[+]token`, one
    that was drawn without a proposal as `[=]token`, and a redrawn one as `[~member 'proposal']token`.

    Args:
        tokenizer: the members' common one. names: of the members, drafters included.

    A stop string that ends the text is shown: the trace shows tokens, not the text that is cut out of them.
    """

    def __init__(self, tokenizer: Any, names: Sequence[str], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._tokenizer = tokenizer
        for index, name in enumerate(names):
            self.console.print(Text(f" {index} {name} ", COLOURS[index % len(COLOURS)]), end="")
        legend = Text.assemble((" + looked up in the text ", LOOKED_UP), " = drawn ", (" proposal", REJECTED))
        self.console.print(legend.append(" ~ redrawn ", "reverse"))

    def token(self, piece: Piece) -> None:
        """Print what the piece's token adds to the text."""
        if piece.commit and piece.token_text:
            self.console.print(self._styled(piece.commit, piece.token_text), end="")

    def _styled(self, commit: Commit, text: str) -> Text:
        replaced = None if commit.proposed is None else repr(token_text(self._tokenizer, commit.proposed))
        if self.console.color_system is None:
            mark = "+" if commit.looked_up else "=" if commit.member is None else str(commit.member)
            return Text(f"[{mark}]{text}" if replaced is None else f"[~{mark} {replaced}]{text}")
        style = LOOKED_UP if commit.looked_up else Style()
        if commit.member is not None:
            style = Style(color=COLOURS[commit.member % len(COLOURS)])
        if replaced is None:
            return Text(text, style)
        return Text.assemble((replaced[1:-1], style + REJECTED), (text, style + Style(reverse=True)))
