"""Prompt lookup: what followed the last tokens where they stood before (Saxena 2023, "prompt lookup decoding").

A proposer without a model: what it proposes is treated as given, so a proposal is accepted with the probability that the
target gives it.
"""

from collections.abc import Sequence

LENGTHS = (4, 3, 2)  # of the runs of tokens that are looked up, in this order


class Lookup:
    """The text of one row, with an index of its runs of tokens.

    Args:
        prompt: what the text begins with.
        committed: the generated tokens; the list grows while the row runs, and is read when something is looked up.
    """

    def __init__(self, prompt: Sequence[int], committed: Sequence[int] = ()) -> None:
        self._prompt, self._committed = prompt, committed
        self._text: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}  # run -> where it was followed last

    def find(self, open: Sequence[int], most: int) -> tuple[list[int], int]:
        """Return up to `most` tokens that may follow the text and the open tokens, and the length of the run they follow.

        No tokens and 0, if the end of the text was not seen before.
        """
        self._append(self._prompt[len(self._text) :])
        self._append(self._committed[len(self._text) - len(self._prompt) :])
        text = [*self._text[-LENGTHS[0] :], *open]
        for length in LENGTHS:
            place = self._places.get(tuple(text[-length:])) if len(text) >= length else None
            if place is not None:
                return self._copied(place, open, most), length
        return [], 0

    def _copied(self, place: int, open: Sequence[int], most: int) -> list[int]:
        """Return tokens from there on; a copy may run into its own beginning, as in text that repeats itself at once."""
        known = len(self._text)
        found = [*open]
        for source in range(place, place + most):
            found.append(self._text[source] if source < known else found[source - known])
        return found[len(open) :]

    def _append(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            for length in LENGTHS:
                if len(self._text) >= length:  # a run is known once it is followed
                    self._places[tuple(self._text[-length:])] = len(self._text)
            self._text.append(token)
