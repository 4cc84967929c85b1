"""Short ways of the loop give what their slow definitions give."""

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from unisono.decoding import Turn, View
from unisono.decoding.frontier import Frontier, joined
from unisono.decoding.proposals import Draft, Proposal
from unisono.decoding.spec import Settled
from unisono.decoding.targets import alike
from unisono.frozen import quick
from unisono.members.base import Scores, Work
from unisono.transfer import fetch_nested
from unisono.types import Commit

TENSORS = [torch.arange(15.0).view(5, 3) + 100 * index for index in range(3)]
PLACES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=12)


@given(PLACES)
@example([(0, 0), (0, 1), (0, 1), (0, 3)])
@example([(1, 0), (1, 2), (1, 4)])
@example([(1, 4), (1, 2), (1, 0)])
def test_joined_places_are_the_rows_one_by_one(places: list[tuple[int, int]]) -> None:
    found = joined([(TENSORS[base], index) for base, index in places])
    assert torch.equal(found, torch.stack([TENSORS[base][index] for base, index in places]))


@pytest.mark.parametrize("places", [[(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)], [(1, 2), (1, 3)], [(2, 4)]])
def test_rows_that_follow_each_other_are_not_copied(places: list[tuple[int, int]]) -> None:
    found = joined([(TENSORS[base], index) for base, index in places])
    assert found.data_ptr() == TENSORS[places[0][0]][places[0][1]].data_ptr()


def test_scores_are_read_from_the_tensor_of_all_rows() -> None:
    frontier = Frontier(1)
    frontier.add_scores(0, Scores(TENSORS[0][2:4], place=(TENSORS[0], 2)))
    assert [each.logits for each in frontier.said[0]] == [(TENSORS[0], 2), (TENSORS[0], 3)]


def test_a_place_with_other_memory_is_not_read() -> None:
    frontier = Frontier(1)
    frontier.add_scores(0, Scores(TENSORS[0][2:4].clone(), place=(TENSORS[0], 2)))
    frontier.add_scores(0, Scores(TENSORS[1][1:2], place=(TENSORS[1], 0)))
    wanted = torch.stack([TENSORS[0][2], TENSORS[0][3], TENSORS[1][1]])
    assert torch.equal(joined([each.logits for each in frontier.said[0]]), wanted)


@given(st.lists(st.integers(0, 3), max_size=12))
def test_values_with_equal_keys_are_in_one_group(keys: list[int]) -> None:
    values = list(enumerate(keys))
    wanted = [[value for value in values if value[1] == key] for key in dict.fromkeys(keys)]
    assert alike(values, lambda value: value[1]) == wanted


def test_nested_tensors_become_lists() -> None:
    nested = [torch.tensor([1, 2]), [3, (torch.tensor([[0.5]]),)], [], (), None]
    assert fetch_nested(nested) == [[1, 2], [3, [[[0.5]]]], [], [], None]


@pytest.mark.parametrize("kind", [View, Turn, Proposal, Draft, Settled, Commit, Work, Scores])
def test_quick_values_are_frozen_dataclasses(kind: type) -> None:
    given = {each.name: number for number, each in enumerate(fields(kind))}
    first = next(iter(given))
    value = kind(**given)
    assert value == kind(*given.values())
    assert vars(value) == given
    assert hash(value) == hash(tuple(given.values()))
    assert getattr(replace(value, **{first: 9}), first) == 9
    needed = [each.name for each in fields(kind) if each.default is MISSING]
    defaults = {each.name: each.default for each in fields(kind) if each.default is not MISSING}
    assert vars(kind(*range(len(needed)))) == {name: given[name] for name in needed} | defaults
    with pytest.raises(TypeError, match="missing"):
        kind()
    with pytest.raises(TypeError, match="unexpected keyword"):
        kind(**given, unknown=1)
    with pytest.raises(FrozenInstanceError):
        setattr(value, first, 3)


def test_quick_refuses_what_its_init_would_leave_out() -> None:
    @dataclass(frozen=True)
    class Made:
        values: list[int] = field(default_factory=list)

    @dataclass(frozen=True)
    class Checked:
        value: int

        def __post_init__(self) -> None:
            raise AssertionError

    for kind in (Made, Checked):
        with pytest.raises(TypeError, match="needs the __init__"):
            quick(kind)
