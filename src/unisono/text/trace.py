"""Print tokens in a terminal. Show which member proposed each token, and which proposals were rejected."""

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
    """Prints each token in the colour of the member that proposed the token.

    A token that was copied from the text is underlined. A rejected proposal is struck out. The token that replaces the
    proposal follows in reverse colours. Output to files and pipes has no colours. In such output a proposed token is
    printed as `[member]token`, a copied token as `[+]token`, a token drawn without a proposal as `[=]token`, and a
    token that replaces a rejected proposal as `[~member 'proposal']token`. A stop string at the end is printed,
    although the answer does not contain it.

    Args:
        tokenizer: the members' common tokenizer. names: the names of all members, including members that only propose.
    """

    def __init__(self, tokenizer: Any, names: Sequence[str], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._tokenizer = tokenizer
        for index, name in enumerate(names):
            self.console.print(Text(f" {index} {name} ", COLOURS[index % len(COLOURS)]), end="")
        legend = Text.assemble((" + looked up in the text ", LOOKED_UP), " = drawn ", (" proposal", REJECTED))
        self.console.print(legend.append(" ~ redrawn ", "reverse"))

    def token(self, piece: Piece) -> None:
        """Print the text that the token of the piece adds."""
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
