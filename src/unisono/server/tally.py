"""Counts the accepted and rejected proposals of one row from its events, for vLLM's `speculative_decoding` object."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from unisono.decoding.events import Accepted, Proposed, Replaced, RolledBack, Scored
from unisono.decoding.proposals import FORCED


class Tally:
    """A listener that counts, for each settling, the decided proposals of one row. Forced tokens are not counted.

    A settling is one verification of the open proposals. The lists have one entry for each settling that decided
    proposals.

    drafted: per settling, the number of proposals that were accepted, rejected, or discarded after a rejected proposal.
    accepted: per settling, the number of accepted proposals.
    """

    hears = (Scored, Proposed, Accepted, Replaced, RolledBack)

    def __init__(self) -> None:
        self.drafted: list[int] = []
        self.accepted: list[int] = []
        self._forced: set[int] = set()  # positions of the forced proposals
        self._settling = False  # whether the last entries of the lists can still grow

    def observe(self, event: Scored | Proposed | Accepted | Replaced | RolledBack) -> None:
        """Count the proposals that the event decides. A settling ends when the row is scored again or gets a new proposal."""
        if isinstance(event, Accepted):
            count = sum(proposer != FORCED for proposer in event.proposers)
            self._count(count, count)
        elif isinstance(event, Replaced):
            self._count(1, 0)
        elif isinstance(event, RolledBack):
            positions = range(event.first, event.first + event.count)
            if self._settling and self.drafted[-1] > self.accepted[-1]:  # false for proposals after the end of the text
                self._count(len(positions) - len(self._forced.intersection(positions)), 0)
            self._forced.difference_update(positions)
        else:
            self._settling = False
            if isinstance(event, Proposed) and event.proposer == FORCED:
                self._forced.add(event.position)

    def _count(self, drafted: int, accepted: int) -> None:
        if not drafted:
            return
        if not self._settling:
            self.drafted.append(0)
            self.accepted.append(0)
            self._settling = True
        self.drafted[-1] += drafted
        self.accepted[-1] += accepted

    def summary(self) -> dict[str, Any]:
        """Return vLLM's `speculative_decoding` object without the lists that have one entry per settling."""
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
        """Return the fields of `summary`, one histogram per draft length, and the lists `drafted` and `accepted`."""
        by_length = {
            str(length): _histogram(
                [a for d, a in zip(self.drafted, self.accepted, strict=True) if d == length], length
            )
            for length in sorted(set(self.drafted))
        }
        lists = {"per_step_accepted": list(self.accepted), "per_step_drafted": list(self.drafted)}
        return {**self.summary(), "acceptance_histogram_by_draft_length": by_length, **lists}


def _histogram(accepted: Sequence[int], longest: int) -> list[int]:
    """Return a list whose entry i is the number of settlings that accepted i proposals, for i from 0 to `longest`."""
    counts = Counter(accepted)
    return [counts[number] for number in range(longest + 1)]
