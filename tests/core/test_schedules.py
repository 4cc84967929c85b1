"""Schedules: their names, who proposes by default, and who runs when."""

import pytest

from tests.core.helpers import HistoryMember, Run, Script, observed
from unisono.auto.static import automatic
from unisono.combine import only, weighted
from unisono.decoding import Schedule, Turn, View, cos, parallel, speculative, standard
from unisono.errors import ConfigurationError
from unisono.methods import as_schedule, default_proposer


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("standard", "standard"),
        ("parallel", "parallel"),
        ("speculative:4", "speculative:4"),
        ("cos:3,1", "cos:3,1"),
        ("cos: 3, 1", "cos:3,1"),
        ("auto", "cos:1,1"),
    ],
)
def test_names_are_understood(name: str, wanted: str):
    """A name gives the schedule that reports it."""
    assert as_schedule(name, [1, 1], [0, 1]).name == wanted


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("standart", r"unknown schedule: 'standart'; did you mean 'standard'\?"),
        ("parallell", r"did you mean 'parallel'\?"),
        ("speculativ:4", r"did you mean 'speculative:G'\?"),
        ("", "unknown schedule"),
        ("standard:2", "unknown schedule"),
        ("auto:2", "unknown schedule"),
        ("cos", "needs draft lengths"),
        ("speculative", "needs draft lengths"),
        ("speculative:x", "needs draft lengths.*'x'"),
        ("speculative:1.5", "needs draft lengths.*'1.5'"),
        ("cos:1,", "needs draft lengths"),
        ("speculative:0", "1 or more, not: 0"),
        ("cos:1,-2", "1 or more, not: -2"),
        ("speculative:1,2", r"needs 1 draft length"),
        ("cos:1", r"needs 2 draft length"),
        ("cos:1,1,1", r"needs 2 draft length"),
    ],
)
def test_mistakes_are_named(name: str, message: str):
    """Unknown names come with the nearest one; lengths are integers, 1 or more, and as many as there are members."""
    with pytest.raises(ConfigurationError, match=message) as error:
        as_schedule(name, [1, 1], [0, 1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: speculative(0),
        lambda: speculative(-1),
        lambda: speculative(2.0),  # type: ignore[arg-type]
        lambda: speculative(True),
        lambda: cos(1, 0),
        lambda: cos(1, "2"),  # type: ignore[arg-type]
        lambda: cos(),
        lambda: as_schedule(3, [1, 1], [0, 1]),
        lambda: as_schedule(None, [1, 1], [0, 1]),
        lambda: as_schedule(cos(1, 1, 1), [1, 1], [0, 1]),
    ],
)
def test_objects_are_checked_as_names_are(make):
    """What cannot be a schedule of these members is refused before decoding."""
    with pytest.raises(ConfigurationError):
        make()


def test_objects_pass():
    """A schedule of one's own is used as it is."""
    own = Schedule("own", lambda view: Turn((0,)))
    assert as_schedule(own, [1, 1], [0, 1]) is own


@pytest.mark.parametrize(
    ("parameters", "weights", "needed", "proposer"),
    [
        ([5, 1], [0.9, 0.1], [0, 1], 1),
        ([1, 5], [0.1, 0.9], [0, 1], 0),
        ([5, 5], [0.3, 0.7], [0, 1], 1),
        ([5, 5], [0.5, 0.5], [0, 1], 0),
        ([5, 2, 2], [0.2, 0.3, 0.5], [0, 1, 2], 2),
        ([5, 2, 2], [0.2, 0.4, 0.4], [0, 1, 2], 1),
        ([1, 5], [0, 0], [0], 1),
        ([5, 1], [0, 0], [1], 0),
        ([3, 1, 2], [0, 0, 0], [1], 2),
        ([3], [1.0], [0], 0),
    ],
)
def test_default_proposer(parameters: list[int], weights: list[float], needed: list[int], proposer: int):
    """The fewest parameters, then the larger weight, then the first; never the member that alone fixes the law."""
    assert default_proposer(parameters, weights, needed) == proposer


def test_automatic_drafts_longer_with_a_much_smaller_member():
    """Equal members draft one token each, a small one drafts more, and a single member is not drafted for."""
    assert as_schedule("auto", [10, 10], [0, 1]).name == "cos:1,1"
    assert as_schedule("auto", [10, 1], [0, 1]).name == "cos:1,4"
    assert as_schedule("auto", [10], [0]).name == "standard"


def accepting(schedule: Schedule, members: int, tokens: int, **options: object) -> Run:
    """A run in which every proposal is token 1 and is accepted."""
    equal = [HistoryMember.random(2, 1) for _ in range(members)]
    return observed(equal, schedule, Script(draws=[1] * 10 * tokens), tokens, **options)  # type: ignore[arg-type]


def turns(run: Run) -> list[tuple[tuple[int, ...], int, int]]:
    """Who ran, how many proposals were open before, how many tokens were committed then."""
    return [(turn.members, view.open, len(done)) for (view, turn), done in zip(run.turns, run.rounds, strict=True)]


def test_standard_runs_one_member_after_the_other():
    """Every member scores every position, the default proposer first; the last one's turn commits the token."""
    assert turns(accepting(standard(), 2, 2)) == [((0,), 0, 0), ((1,), 0, 1)] * 2
    assert turns(accepting(standard(), 2, 1, proposer=1)) == [((1,), 0, 0), ((0,), 0, 1)]


def test_parallel_runs_all_needed_members_in_a_round():
    """One round per token, in which each needed member scores one position."""
    assert turns(accepting(parallel(), 3, 3)) == [((0, 1, 2), 0, 1)] * 3
    assert turns(accepting(parallel(), 3, 2, combination=only(1))) == [((1,), 0, 1)] * 2


def test_speculative_drafts_then_all_others_score():
    """The default proposer drafts, each other member scores the draft in one forward, the last decides it whole.

    The others have then scored the position behind it too: the proposer's next forward makes the law known there, and the
    token is drawn from it.
    """
    run = accepting(speculative(3), 3, 8, proposer=1)
    assert turns(run) == [((1,), 0, 0), ((0,), 3, 0), ((2,), 3, 3), ((1,), 0, 1)] * 2
    assert run.row.lineup.members[0].calls == [(4, 4), (4, 4)]  # type: ignore[attr-defined]
    assert [commit.origin for commit in run.commits] == ["accepted", "accepted", "accepted", "drawn"] * 2
    assert [member.forwards for member in run.row.stats.members] == [2, 8, 2]


def test_speculative_for_one_member_draws_the_token_behind_the_draft():
    """Where one member fixes the law, a wholly accepted draft brings one more token without being proposed."""
    run = accepting(speculative(2), 2, 6, combination=only(1))
    assert turns(run) == [((0,), 0, 0), ((1,), 2, 3)] * 2
    assert [commit.origin for commit in run.commits] == ["accepted", "accepted", "drawn"] * 2


def test_alternate_proposals_of_two():
    """The verifier's forward decides the open proposals and gives its own: one token per forward after the first."""
    assert turns(accepting(cos(1, 1), 2, 4)) == [((0,), 0, 0), ((1,), 1, 1), ((0,), 1, 1), ((1,), 1, 1), ((0,), 1, 1)]


def test_figure_7_of_the_paper():
    """Three members with draft lengths 3, 2, 1, nothing rejected: who runs, on how many proposals, deciding how many.

    The first drafts 3. The second scores them and the position behind, and drafts 2. The third scores those 5 and
    completes the first 3, which are decided; it adds 1 to the 2 that are left. The first has scored none of those 3, and
    so on.
    """
    run = accepting(cos(3, 2, 1), 3, 30)
    assert turns(run)[:6] == [((0,), 0, 0), ((1,), 3, 0), ((2,), 5, 3), ((0,), 3, 2), ((1,), 4, 1), ((2,), 5, 3)]
    calls = [member.calls for member in run.row.lineup.members]  # type: ignore[attr-defined]
    assert calls[0][:3] == [(1, 1), (1, 1), (1, 1)]  # its draft, token by token
    assert calls[1][:2] == [(4, 4), (1, 1)]  # 3 proposals and the position behind, then one token more
    assert calls[2][0] == (6, 6)  # 5 proposals and the position behind


def test_a_rejection_brings_back_the_default_proposer():
    """After a redraw nothing is open, and the default proposer starts again, whose turn it would not have been."""
    members = [HistoryMember.random(2, seed) for seed in (1, 2)]
    run = observed(members, cos(1, 1), Script(draws=[1] * 50, leading=0), 3, weighted([1, 1]), proposer=1)
    assert [turn.members for _, turn in run.turns] == [(1,), (0,)] * 3
    assert [commit.origin for commit in run.commits] == ["redrawn"] * 3


def test_a_rejection_in_the_middle_of_a_draft():
    """What was accepted before it counts, what was drafted behind it does not."""
    members = [HistoryMember.random(2, seed) for seed in (1, 2)]
    run = observed(members, speculative(4), Script(draws=[1] * 50, leading=2), 3)
    assert [commit.origin for commit in run.commits] == ["accepted", "accepted", "redrawn"]
    assert [member.proposed for member in run.row.stats.members] == [3, 0]  # the draft is cut at the limit


EQUAL = [
    (standard(), 2, 12, [12, 12]),
    (parallel(), 2, 12, [12, 12]),
    (parallel(), 3, 12, [12, 12, 12]),
    (speculative(1), 2, 12, [12, 6]),
    (speculative(3), 2, 12, [12, 3]),
    (speculative(3), 3, 12, [12, 3, 3]),
    (speculative(5), 2, 12, [12, 2]),
    (cos(1, 1), 2, 12, [7, 6]),
    (cos(3, 1), 2, 12, [10, 3]),
    (cos(1, 1, 1), 3, 12, [5, 5, 4]),
]


@pytest.mark.parametrize(
    ("schedule", "members", "tokens", "forwards"), EQUAL, ids=lambda value: getattr(value, "name", None)
)
def test_forwards_of_members_that_always_agree(schedule: Schedule, members: int, tokens: int, forwards: list[int]):
    """With N tokens and nothing rejected: N each for `standard`; N and N / (G + 1) for `speculative:G`; N + 1 together
    for `cos:1,1`; G and 1 for each G + 1 tokens of `cos:G,1`; N + n - 1 together for n members that propose one each.
    """
    run = accepting(schedule, members, tokens)
    assert [member.forwards for member in run.row.stats.members] == forwards
    assert [len(member.calls) for member in run.row.lineup.members] == forwards  # type: ignore[attr-defined]


def test_views_say_what_has_been_scored():
    """The least scored member is a needed one, the default proposer among equals, then the first."""
    assert View(2, (1, 0, 2), (0, 1, 2), 0).least_scored() == 1
    assert View(2, (1, 0, 2), (0, 2), 0).least_scored() == 0
    assert View(2, (1, 1, 1), (0, 1, 2), 2).least_scored() == 2
    assert View(2, (1, 1, 1), (0, 1), 2).least_scored() == 0


def test_a_schedule_that_does_nothing_is_an_error():
    """A turn without a score, a proposal or a decision would be repeated for ever."""
    idle = Schedule("idle", lambda view: Turn((0,)))
    with pytest.raises(ConfigurationError, match="idle makes no progress"):
        accepting(idle, 2, 3)


def test_auto_does_not_draft_for_a_member_that_decodes_faster_alone():
    """One member fixes the law: a small one drafts for it, a large one never does."""
    assert automatic([100, 10], [0]).name == "speculative:4"
    assert automatic([100, 10], [1]).name == "standard"
    assert automatic([100, 90], [0]).name == "standard"
    assert automatic([100, 10], [0, 1]).name == "cos:1,4"
    assert automatic([100], [0]).name == "standard"


def test_auto_lets_the_member_draft_whose_law_is_nearly_the_target():
    """The expert of a contrastive pair drafts two; an even mixture goes by size."""
    assert automatic([100, 10], [0, 1], [1.0, 0.0]).name == "cos:2,1"
    assert automatic([100, 10], [0, 1], [0.5, 0.5]).name == "cos:1,4"
    assert automatic([100, 90], [0, 1], [0.0, 0.0]).name == "cos:1,1"


def test_members_of_weight_zero_are_not_needed():
    """They may propose; the law does not wait for them."""
    assert weighted([0, 2, 1]).needed(3) == (1, 2)
