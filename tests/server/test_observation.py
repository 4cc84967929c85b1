"""The trace of a row, from events alone."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import tokenizer
from unisono import combine
from unisono.combine import Combination
from unisono.combine.positions import Positions
from unisono.decoding.events import Accepted, Drawn, Proposed, Replaced, RolledBack, Scored
from unisono.decoding.proposals import FORCED
from unisono.members.base import Scores
from unisono.members.lineup import Lineup
from unisono.sampling.warp import AnyWarp, Warp
from unisono.server.observation import Observer
from unisono.server.tally import Tally
from unisono.testing import unequal_members
from unisono.types import MemberStats, Stats

WEIGHTED = combine.weighted([0.5, 0.5])
LOGITS = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)  # [M, K, V]
LAWS = LOGITS.softmax(-1)


class LastToken(Combination):
    """A law that reads more than scores."""

    reads = frozenset({"tokens"})
    name = "last"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        assert positions.tokens
        return warp(positions.scores[0].logits)


def make_observer(combination: Combination = WEIGHTED, drawn: int | None = None) -> Observer:
    row: Any = SimpleNamespace(
        lineup=Lineup(tuple(unequal_members(2, 5))),
        stats=Stats([MemberStats("a", forwards=1), MemberStats("b")]),
        method=SimpleNamespace(combination=combination),
        drawn=lambda position: drawn,
        listen=lambda listener: None,
    )
    return Observer(tokenizer(), row, 2, 0.0)


def scored(member: int, first: int, count: int) -> Scored:
    return Scored(member, first, Scores(LOGITS[member, first : first + count]))


def tokens(observer: Observer, *events: Any, count: int = 1) -> list[dict[str, Any]]:
    """What the observer tells of the tokens that these events commit."""
    for event in events:
        observer.observe(event)
    found: list[dict[str, Any]] = observer.look(count, 0.0, 1.0)["tokens"]
    return found


def members(token: dict[str, Any]) -> list[float | None]:
    first: list[float | None] = token["candidates"][0]["members"]
    return first


def test_scores_wait_for_the_commit_at_their_position():
    """Those behind accepted tokens stay; the combined law is there where both members have scored."""
    observer = make_observer()
    first, second = tokens(observer, scored(0, 0, 3), scored(1, 0, 1), Accepted(0, [1, 2], [0, "lookup"]), count=2)
    best = first["candidates"][0]
    assert best["combined"] == pytest.approx(float(LAWS[:, 0].mean(0).max()))
    assert best["members"] == [pytest.approx(float(law[best["id"]])) for law in LAWS[:, 0]]
    assert (first["origin"], first["member"], first["looked_up"]) == ("accepted", 0, False)
    assert (second["origin"], second["member"], second["looked_up"]) == ("accepted", None, True)
    assert second["candidates"][0]["combined"] is None
    assert members(second) == [pytest.approx(float(LAWS[0, 1].max())), None]
    (third,) = tokens(observer, Drawn(2, 3))
    assert members(third) == [pytest.approx(float(LAWS[0, 2].max())), None]


def test_scores_behind_a_rejected_proposal_are_void():
    observer = make_observer()
    (replaced,) = tokens(observer, scored(0, 0, 3), scored(1, 0, 3), Replaced(0, 1, 0, 2))
    assert (replaced["origin"], replaced["member"], replaced["proposed"]["id"]) == ("redrawn", 0, 1)
    (drawn,) = tokens(observer, scored(1, 1, 1), Drawn(1, 0))
    assert (drawn["origin"], drawn["member"], drawn["proposed"]) == ("drawn", None, None)
    assert members(drawn) == [None, pytest.approx(float(LAWS[1, 1].max()))]


def test_a_law_that_is_known_early_is_told():
    """`only:0` does not need the other member, and the law of a drawn member is its own."""
    (alone,) = tokens(make_observer(combine.only(0)), scored(0, 0, 1), Drawn(0, 1))
    assert alone["candidates"][0]["combined"] == pytest.approx(float(LAWS[0, 0].max()))
    (own,) = tokens(make_observer(combine.drawn([0.5, 0.5]), drawn=1), scored(0, 0, 1), scored(1, 0, 1), Drawn(0, 1))
    assert own["drawn"] == 1
    assert own["candidates"][0]["combined"] == pytest.approx(float(LAWS[1, 0].max()))


def test_a_law_that_reads_more_is_not_told():
    (token,) = tokens(make_observer(LastToken()), scored(0, 0, 1), scored(1, 0, 1), Drawn(0, 1))
    assert token["candidates"][0]["combined"] is None


def test_a_forced_token_needs_no_scores():
    (token,) = tokens(make_observer(), Accepted(0, [4], [FORCED]))
    assert (token["origin"], token["member"], token["looked_up"]) == ("forced", None, False)
    assert [(each["id"], each["combined"], each["members"]) for each in token["candidates"]] == [
        (4, None, [None, None])
    ]


def test_an_observer_that_was_dropped_tells_of_no_tokens():
    assert tokens(make_observer(), count=2) == []


def test_kept_scores_are_not_written_to():
    kept = LOGITS.clone()
    tokens(make_observer(), scored(0, 0, 2), scored(1, 0, 2), Accepted(0, [1], [0]), Drawn(1, 1), count=2)
    assert torch.equal(LOGITS, kept)
    assert torch.equal(LAWS, Warp()(LOGITS))


PROPOSED, SCORED = Proposed(0, 1, 0), scored(0, 0, 1)


@pytest.mark.parametrize(
    ("events", "drafted", "accepted"),
    [
        ([PROPOSED, Accepted(0, [1, 2], [0, 1]), Drawn(2, 1)], [2], [2]),
        ([PROPOSED, Accepted(0, [1], [0]), Replaced(1, 1, 0, 2), RolledBack(2, 2)], [4], [1]),
        ([PROPOSED, Accepted(0, [1], [0]), SCORED, Replaced(1, 1, 0, 2)], [1, 1], [1, 0]),
        ([SCORED, Drawn(0, 1), SCORED, Drawn(1, 1)], [], []),
        ([Accepted(0, [1, 1], [FORCED, FORCED]), Drawn(2, 1)], [], []),
        ([Proposed(2, 1, FORCED), Accepted(0, [1], [0]), Replaced(1, 1, 0, 2), RolledBack(2, 2)], [3], [1]),
    ],
    ids=["accepted", "rejected", "two settlings", "drawn", "forced", "forced behind a rejection"],
)
def test_settlings_are_counted(events: list[Any], drafted: list[int], accepted: list[int]):
    tally = Tally()
    for event in events:
        tally.observe(event)
    assert (tally.drafted, tally.accepted) == (drafted, accepted)
