"""What a policy knows about the proposals of its row."""

from collections.abc import Sequence
from dataclasses import dataclass

from unisono.auto.acceptance import Confidence
from unisono.decoding.proposals import Name


@dataclass(frozen=True)
class Note:
    """The facts that the policy keeps about an open proposal: its proposer and its trust. The trust is None if unknown.

    The module `acceptance` defines the trust of a proposal.
    """

    proposer: Name
    trust: object


def trusts(open: Sequence[Note]) -> list[object]:
    return [note.trust for note in open]


class Notes:
    """The notes on the open proposals of one row.

    open: one note per open proposal. position: the first open position. accepted: one note per proposal that was
    accepted since the current turn began. measured: whether members were compared in the current verification.
    """

    def __init__(self) -> None:
        self.open: list[Note] = []
        self.position = 0
        self.accepted: list[Note] = []
        self.measured = False

    def begin(self) -> None:
        """Begin a turn."""
        self.accepted.clear()
        self.measured = False

    def add(self, proposer: Name, trust: object) -> None:
        """Add a note on a new proposal."""
        self.measured = False
        self.open.append(Note(proposer, trust))

    def decided(self, accepted: bool, confidence: Confidence) -> None:
        """Remove the note on the first open proposal, and record in `confidence` whether it was accepted."""
        self.accepted.append(self.open.pop(0))
        confidence.decided(trusts(self.accepted), accepted, self.measured)
        self.position += 1

    def replaced(self, position: int) -> None:
        """Discard the notes of all proposals, because a token that was not proposed was committed at `position`."""
        self.open.clear()
        self.accepted.clear()
        self.position, self.measured = position + 1, False
