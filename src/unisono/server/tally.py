"""What became of a row's proposals, settling by settling."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from unisono.row import Row
from unisono.types import Commit


class Tally:
    """Counts one row's proposals as they are decided, from what the row committed in each step.

    drafted and accepted have one entry per settling that decided proposals: how many it decided or made void, and how
    many of those it accepted. positions counts accepted proposals by (member, index in that member's run of proposals).
    """

    def __init__(self) -> None:
        self.drafted: list[int] = []
        self.accepted: list[int] = []
        self.positions: Counter[tuple[int, int]] = Counter()
        self._open = 0
        self._proposed = 0

    def add(self, row: Row, commits: Sequence[Commit]) -> None:
        """Count one step of the row."""
        accepted = [commit for commit in commits if commit.origin == "accepted"]
        # A token that was not proposed voids all proposals behind it
        decided = len(accepted) if len(accepted) == len(commits) else self._open
        if decided:
            self.drafted.append(decided)
            self.accepted.append(len(accepted))
        run: Counter[int] = Counter()
        for commit in accepted:
            if commit.member is not None:
                self.positions[commit.member, run[commit.member]] += 1
                run[commit.member] += 1
        proposed = sum(member.proposed for member in row.stats.members)
        self._open += proposed - self._proposed - decided
        self._proposed = proposed

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
