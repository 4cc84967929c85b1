"""Convert the decisions about the proposals of a row into committed tokens and events."""

from dataclasses import replace

from unisono.decoding.events import Accepted, Drawn, Listeners, Measured, Replaced, RolledBack, commit
from unisono.decoding.frontier import Frontier
from unisono.decoding.spec import Settled
from unisono.errors import RequestError
from unisono.types import Commit


def committed(frontier: Frontier, settled: Settled) -> list[Commit]:
    """Return the decided tokens as commits. Call this before the decided proposals are removed from the frontier."""
    proposals, accepted = frontier.proposals, settled.accepted
    commits = [commit(int(proposal.token), "accepted", proposal.proposer) for proposal in proposals[:accepted]]
    if settled.follows is not None and accepted < len(settled.tokens):
        rejected = proposals[accepted]
        commits.append(commit(settled.follows, "redrawn", rejected.proposer, int(rejected.token)))
    elif settled.follows is not None:
        commits.append(Commit(settled.follows, "drawn"))
    if settled.logprobs:
        pairs = zip(commits, settled.logprobs, strict=True)
        commits = [replace(each, logprob=logprob, top=top) for each, (logprob, top) in pairs]
    return commits


def lawless(combination: str, position: int) -> RequestError:
    """Return the error for a position where the target law has no possible token."""
    return RequestError(
        f"combination {combination} leaves no possible token behind generated token {position}: each is ruled out by "
        "some member or mask, or scores are not numbers"
    )


def tell(listeners: Listeners, frontier: Frontier, settled: Settled, kept: int, ended: bool) -> None:
    """Send the decisions about a row to the listeners as events.

    Call this before the decided proposals are removed from the frontier.

    Args:
        kept: how many of the decided tokens become part of the text. ended: whether the text ends after these tokens.
    """
    first, proposals, accepted = frontier.position, frontier.proposals, min(kept, settled.accepted)
    for member, values in enumerate(settled.measured):
        listeners.tell(Measured, member, first, *([each[part] for each in values[:kept]] for part in (0, 1)))
    if accepted and listeners.hear(Accepted):
        stand = proposals[:accepted]
        listeners.tell(Accepted, first, [int(each.token) for each in stand], [each.proposer for each in stand])
    decided = accepted
    if settled.follows is not None and kept > settled.accepted:
        if accepted < len(settled.tokens):
            rejected = proposals[accepted]
            listeners.tell(Replaced, first + accepted, int(rejected.token), rejected.proposer, settled.follows)
            decided += 1
        else:
            listeners.tell(Drawn, first + accepted, settled.follows)
    void = len(proposals) - decided
    if void and (settled.follows is not None or ended):
        listeners.tell(RolledBack, first + decided, void)
