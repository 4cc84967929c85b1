"""A row's settlings one by one, from what its statistics grow by: vLLM's `speculative_decoding` object."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from unisono.types import Stats


class Tally:
    """drafted and accepted have one entry per settling that decided proposals: how many it decided or made void, and how
    many of those it accepted.
    """

    def __init__(self) -> None:
        self.drafted: list[int] = []
        self.accepted: list[int] = []
        self._open = 0  # proposals that wait to be decided
        self._before = (0, 0, 0)

    def add(self, stats: Stats) -> None:
        """Count one step of the row whose statistics these are."""
        now = (stats.verified, stats.accepted, sum(member.proposed for member in stats.members))
        decided, accepted, proposed = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        gone = 0
        if decided:
            gone = decided if decided == accepted else self._open  # a rejection voids all proposals behind it
            self.drafted.append(gone)
            self.accepted.append(accepted)
        self._open += proposed - gone

    def summary(self) -> dict[str, Any]:
        """vLLM's `speculative_decoding` object without its lists per step."""
        steps, drafted, accepted = len(self.drafted), sum(self.drafted), sum(self.accepted)
        longest = max(self.drafted, default=0)
        return {
            "mean_acceptance_length": 1 + accepted / steps if steps else None,
            "draft_acceptance_rate": accepted / drafted if drafted else None,
            "acceptance_histogram": _histogram(self.accepted, longest),
            "num_spec_steps": steps,
            "num_accepted_draft_tokens": accepted,
            "num_draft_tokens": drafted,
            "num_spec_tokens": longest,
        }

    def detail(self) -> dict[str, Any]:
        """The same, with a histogram for each draft length and an entry for each step."""
        by_length = {
            str(length): _histogram(
                [a for d, a in zip(self.drafted, self.accepted, strict=True) if d == length], length
            )
            for length in sorted(set(self.drafted))
        }
        lists = {"per_step_accepted": list(self.accepted), "per_step_drafted": list(self.drafted)}
        return {**self.summary(), "acceptance_histogram_by_draft_length": by_length, **lists}


def _histogram(accepted: Sequence[int], longest: int) -> list[int]:
    """How many settlings accepted 0, 1, ... `longest` proposals."""
    counts = Counter(accepted)
    return [counts[number] for number in range(longest + 1)]
