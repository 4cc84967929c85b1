"""Prompt lookup: find an earlier occurrence of the last tokens, and propose the tokens after it (Saxena 2023).

Prompt lookup needs no draft model. Its proposals have no law, so a proposal is accepted with its probability in the
target law.
"""

from collections.abc import Sequence

LENGTHS = (4, 3, 2)  # lengths of the token runs to look up, in this order


class Lookup:
    """The text of one row, with an index of its short runs of tokens.

    Args:
        prompt: the tokens at the beginning of the text.
        committed: the generated tokens. The list may grow; `find` reads its new tokens.
    """

    def __init__(self, prompt: Sequence[int], committed: Sequence[int] = ()) -> None:
        self._prompt, self._committed = prompt, committed
        self._text: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}  # run -> index of the token after its last occurrence

    def find(self, open: Sequence[int], most: int) -> tuple[list[int], int]:
        """Return up to `most` tokens to propose after the open tokens, and the length of the run that was found.

        The run consists of the last tokens, including the open tokens. If no run occurred before, return [] and 0.
        """
        self._append(self._prompt[len(self._text) :])
        self._append(self._committed[len(self._text) - len(self._prompt) :])
        text = (*self._text[-LENGTHS[0] :], *open)
        for length in LENGTHS:
            place = self._places.get(text[-length:]) if len(text) >= length else None
            if place is not None:
                return self._copied(place, open, most), length
        return [], 0

    def _copied(self, place: int, open: Sequence[int], most: int) -> list[int]:
        """Return `most` tokens from index `place` on. The text is followed by the open tokens and the copied tokens."""
        known = len(self._text)
        found = [*open]
        for source in range(place, place + most):
            found.append(self._text[source] if source < known else found[source - known])
        return found[len(open) :]

    def _append(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            last = tuple(self._text[-LENGTHS[0] :])
            for length in LENGTHS:
                if len(last) >= length:  # a run is indexed when a token follows it
                    self._places[last[-length:]] = len(self._text)
            self._text.append(token)
