"""Policies, constraints and proposers of a user through the facade: the same texts, counted apart, and wrong use."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.toys.brackets import Brackets, balanced
from tests.toys.pairs import Pairs
from tests.toys.policy import Growing
from unisono import Ensemble, RequestError, SamplingParams, combine
from unisono.decoding import RowRequest, Schedule, Turn, View, cos, lookup
from unisono.decoding.proposals import Draft
from unisono.decoding.seat import Seat
from unisono.errors import ConfigurationError, UnisonoError
from unisono.types import Result

V, LENGTH = tiny.VOCABULARY, 16
PROMPTS = [[1, 2, 3, 4, 1, 2, 3], [5, 6, 7]]
GREEDY = SamplingParams(max_tokens=LENGTH, temperature=0, ignore_eos=True)
SAMPLED = dataclasses.replace(GREEDY, temperature=0.8, seed=3, n=2)
BRACKETS = Brackets(V, LENGTH, runs={7: (0, 5, 1)}, first=(0, 9))
MIXTURE = combine.weighted([0.6, 0.4])


@functools.cache
def ensemble() -> Ensemble:
    """The same for all tests."""
    generator = torch.Generator().manual_seed(1)
    joint = torch.rand(V, V, V, generator=generator)
    return tiny.ensemble(
        tiny.models("llama"), combine=MIXTURE, proposers=[Pairs(joint / joint.sum((-1, -2), keepdim=True))]
    )


def drafted_pairs() -> Schedule:
    """Members take turns; pairs are proposed behind each member's token."""
    return Schedule("drafted-pairs", lambda view: Turn((m := view.least_scored(),), ((m, 1), (Pairs.name, 2))))


def texts(results: Sequence[Result]) -> list[tuple[int, ...]]:
    return [result.token_ids for result in results]


@pytest.mark.parametrize("schedule", [Growing(), drafted_pairs(), lookup(2, Pairs.name)], ids=lambda each: each.name)
@pytest.mark.parametrize("constraint", [None, BRACKETS], ids=["free", "brackets"])
def test_toys_give_the_text_of_standard(schedule: Schedule, constraint: Brackets | None):
    """At temperature 0 in any case, sampled under `coupled`: two prompts, two samples each."""
    for params, rule in ((GREEDY, "token"), (SAMPLED, "coupled")):
        params = dataclasses.replace(params, constraint=constraint)
        wanted = ensemble().generate(PROMPTS, params, schedule="standard", verification="token")
        found = ensemble().generate(PROMPTS, params, schedule=schedule, verification=rule)
        assert texts(found) == texts(wanted)
        assert len(set(texts(found))) > 1


@pytest.mark.parametrize("rule", ["token", "block", "coupled"])
def test_brackets_balance_in_samples(rule: str):
    """Four samples of each prompt are different texts; the run at the start is that of the constraint."""
    params = dataclasses.replace(SAMPLED, constraint=BRACKETS, n=4)
    for schedule in ("standard", "cos:2,1", "auto", drafted_pairs()):
        found = ensemble().generate(PROMPTS, params, schedule=schedule, verification=rule)
        assert all(balanced(text) and text[:2] == (0, 9) and len(text) == LENGTH for text in texts(found))
        assert len(set(texts(found))) == 8


def test_pairs_count_for_themselves():
    """A step gives two tokens; they are decided as the pairs' own."""
    result = ensemble().generate(PROMPTS[0], dataclasses.replace(SAMPLED, n=1), schedule=lookup(1, Pairs.name))[0]
    (pairs,) = [each for each in result.stats.proposers if each.name == Pairs.name]
    assert pairs.proposed >= pairs.decided > 0


def test_each_row_has_a_policy_of_its_own():
    """The notes of a row are not those of another one, nor of the schedule that was passed."""
    schedule = Growing()
    alone = [ensemble().generate(prompt, GREEDY, schedule=schedule)[0] for prompt in PROMPTS]
    together = ensemble().generate(PROMPTS, GREEDY, schedule=schedule)
    assert texts(together) == texts(alone)
    counts = [[each.proposed for each in result.stats.members] for result in (*alone, *together)]
    assert counts[:2] == counts[2:]
    assert schedule.length == 1


class Broken:
    """A proposer that drafts what a function says for one prompt, and nothing for others."""

    name = "broken"

    def __init__(self, draft: Callable[[Seat], Any]) -> None:
        self._draft = draft

    def propose(self, seats: Sequence[Seat]) -> list[Draft | None]:
        return [self._draft(seat) if seat.tokens[0] == PROMPTS[0][0] else None for seat in seats]


def raises(*_: object) -> Any:
    raise KeyError("boom")


def even(tokens: Sequence[int], steps: int = 1, proposer: Any = Broken.name) -> Callable[[Seat], Draft]:
    law = torch.full([V], 1 / (V - 1))
    law[3] = 0
    return lambda seat: Draft(tokens, [law for _ in tokens], proposer, steps)


WRONG_DRAFTS: dict[str, tuple[Callable[[Seat], Any], str]] = {
    "outside": (even([V]), f"proposer broken .*token {V} is outside of the vocabulary of {V}"),
    "negative": (even([-1]), "proposer broken .*token -1 is outside"),
    "no mass": (even([4, 3]), "proposer broken .*token 3 has no mass in the law that it names"),
    "steps": (even([4, 4], steps=2), "proposer broken .*2 steps, where 1 to 1 were asked for"),
    "no steps": (even([4], steps=0), "proposer broken .*0 steps"),
    "no tokens": (even([]), "proposer broken .*0 tokens with 0 laws"),
    "laws": (lambda seat: Draft([4, 5], [None], Broken.name), "proposer broken .*2 tokens with 1 laws"),
    "shape": (lambda seat: Draft([4], [torch.ones(3)], Broken.name), "proposer broken .*token 4 has no mass"),
    "no draft": (lambda seat: [4], r"proposer broken .*must be a Draft whose proposer is 'broken', not: list"),
    "another name": (even([4], proposer=0), "proposer broken .*must be a Draft whose proposer is 'broken', not: 0"),
    "text": (even(["x"]), "proposer broken .*"),  # type: ignore[list-item]
    "raises": (raises, "proposer broken failed: KeyError: 'boom'"),
    "pick twice": (lambda seat: (seat.pick(torch.ones(2)), seat.pick(torch.ones(2))), "proposer broken .*used twice"),
}


def both(loaded: Ensemble, first: SamplingParams, second: SamplingParams, schedule: object = "cos:2,1") -> list[Any]:
    """Two prompts in one batch; an error stands at its place."""
    return loaded.generate(PROMPTS, [first, second], schedule=schedule, on_error="return")  # type: ignore[return-value]


def failed(found: Sequence[Any], wanted: Sequence[int]) -> str:
    """Return the one line of the first row's error; the second row has its usual text."""
    error, other = found
    assert isinstance(error, UnisonoError)
    assert "\n" not in str(error)
    assert other.token_ids == tuple(wanted)
    return str(error)


@functools.cache
def usual(loaded: Ensemble) -> tuple[int, ...]:
    """The text of the second prompt, alone under `standard`, with a seed."""
    return loaded.generate(PROMPTS[1], SECOND, schedule="standard", verification="coupled")[0].token_ids


SECOND = dataclasses.replace(GREEDY, temperature=0.8, seed=4)
FIRST = dataclasses.replace(SECOND, seed=6)


@pytest.mark.parametrize("case", WRONG_DRAFTS)
def test_a_draft_that_cannot_be_taken_ends_its_row_only(case: str):
    """The other row asks the same proposer in the same call."""
    draft, message = WRONG_DRAFTS[case]
    broken = tiny.ensemble(tiny.models("llama"), combine=MIXTURE, proposers=[Broken(draft)], verification="coupled")
    found = both(
        broken, FIRST, SECOND, Schedule("ask", lambda v: Turn((m := v.least_scored(),), (("broken", 1), (m, 1))))
    )
    assert re.search(message, failed(found, usual(ensemble())))


class Counting(Broken):
    """Returns a draft too many."""

    def propose(self, seats: Sequence[Seat]) -> list[Draft | None]:
        return [None] * (len(seats) + 1)


def test_a_wrong_number_of_drafts_ends_the_rows_that_asked():
    broken = tiny.ensemble(tiny.models("llama"), combine=MIXTURE, proposers=[Counting(raises)], verification="coupled")
    requests = [
        broken.start(PROMPTS[0], FIRST, schedule=lookup(1, "broken"))[0],
        broken.start(PROMPTS[1], SECOND, schedule="cos:2,1")[0],
    ]
    broken.engine.submit(*(request.row for request in requests))
    with pytest.raises(ConfigurationError, match="proposer broken must return 1 drafts, not: 2"):
        broken.engine.run(requests[0].row)
    broken.engine.run(requests[1].row)
    assert tuple(requests[1].row.frontier.committed) == usual(ensemble())


class Wrong(Brackets):
    """Brackets of which a method answers something else from the third token on."""

    def __init__(self, method: str, answer: Callable[[Any], Any]) -> None:
        super().__init__(V, LENGTH)
        self._method, self._answer = method, answer

    def mask(self) -> Tensor:
        return self._answer(super().mask()) if self._late("mask") else super().mask()  # type: ignore[no-any-return]

    def forced(self) -> int | None:
        return self._answer(super().forced()) if self._late("forced") else super().forced()  # type: ignore[no-any-return]

    def accept(self, token: int) -> bool:
        return self._answer(token) if self._late("accept") else super().accept(token)  # type: ignore[no-any-return]

    def rollback(self, count: int) -> None:
        return self._answer(count) if self._method == "rollback" else super().rollback(count)  # type: ignore[return-value]

    def _late(self, method: str) -> bool:
        return method == self._method and self.left < LENGTH - 2


WRONG_CONSTRAINTS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "nothing is left": ("mask", torch.zeros_like, "the constraint allows no token behind generated token 3"),
    "shape": ("mask", lambda mask: mask[1:], f"the mask of a constraint must be a bool tensor of {V} tokens, not"),
    "dtype": ("mask", lambda mask: mask.float(), f"the mask of a constraint must be a bool tensor of {V} tokens, not"),
    "no tensor": ("mask", lambda mask: None, "the mask of a constraint must be a bool tensor .*: NoneType"),
    "mask raises": ("mask", raises, "the constraint failed: KeyError: 'boom'"),
    "forbidden": ("forced", lambda token: 0 if token is None else 2 * V, "the constraint forces token"),
    "forced raises": ("forced", raises, "the constraint failed: KeyError: 'boom'"),
    "accept raises": ("accept", raises, "the constraint failed: KeyError: 'boom'"),
    "accepts nothing": (
        "accept",
        lambda token: False,
        "the constraint does not accept token .*, which its mask allows",
    ),
    "rollback raises": ("rollback", raises, "the constraint failed: KeyError: 'boom'"),
}


@pytest.mark.parametrize(
    ("case", "schedule"),
    [
        (case, name)
        for case in WRONG_CONSTRAINTS
        for name in ("standard", "cos:3,1")
        if (case, name) != ("rollback raises", "standard")
    ],
)
def test_a_wrong_constraint_ends_its_row_only(case: str, schedule: str):
    method, answer, message = WRONG_CONSTRAINTS[case]
    first = dataclasses.replace(FIRST, constraint=Wrong(method, answer))
    found = ensemble().generate(PROMPTS, [first, SECOND], schedule=schedule, verification="coupled", on_error="return")
    assert re.search(message, failed(found, usual(ensemble())))


def test_a_mask_that_does_not_fit_is_refused_at_once():
    with pytest.raises(RequestError, match=f"must be a bool tensor of {V} tokens"):
        ensemble().generate(PROMPTS, dataclasses.replace(GREEDY, constraint=Brackets(V - 1, LENGTH)))


class Raising(Schedule):
    """A policy of which one method raises, for the row of the first prompt."""

    wrong = False

    def __init__(self, method: str) -> None:
        super().__init__("raising")
        self._method = method

    def policy(self, request: RowRequest) -> Schedule:
        made = Raising(self._method)
        made.wrong = request.text._prompt[0] == PROMPTS[0][0]
        return made

    def turn(self, view: View) -> Turn:
        self._raise("turn")
        return Turn((m := view.least_scored(),), ((m, 2), ("lookup", 1)))

    def draws(self, open: Any, proposer: Any, scores: Any) -> bool:
        self._raise("draws")
        return True

    def goes_on(self, open: Any, proposer: Any) -> bool:
        self._raise("goes_on")
        return True

    def copies(self, open: Any, run: int) -> int:
        self._raise("copies")
        return 2

    def measures(self, positions: int) -> bool:
        self._raise("measures")
        return False

    @property
    def following(self) -> str:
        self._raise("following")
        return ""

    def _raise(self, method: str) -> None:
        if self.wrong and method == self._method:
            raise KeyError("boom")


@pytest.mark.parametrize("method", ["turn", "draws", "goes_on", "copies", "measures", "following"])
def test_a_policy_that_raises_ends_its_row_only(method: str):
    found = ensemble().generate(
        PROMPTS, [FIRST, SECOND], schedule=Raising(method), verification="coupled", on_error="return"
    )
    assert failed(found, usual(ensemble())) == "schedule raising failed: KeyError: 'boom'"


class Turnless(Schedule):
    """Defines no turn."""


WRONG_TURNS: dict[str, tuple[Schedule, str]] = {
    "an unknown proposer": (lookup(1, "none"), "schedule none:1 gave a turn that cannot be taken: .*none"),
    "an unknown member": (Schedule("far", lambda view: Turn((5,))), "schedule far gave a turn that cannot be taken"),
    "nothing": (Schedule("nothing", lambda view: None), "schedule nothing gave a turn that cannot be taken: None"),  # type: ignore[arg-type, return-value]
    "no turn": (Turnless(), "schedule Turnless must define turn"),
}


@pytest.mark.parametrize("case", WRONG_TURNS)
def test_a_turn_that_cannot_be_taken_ends_its_row_only(case: str):
    schedule, message = WRONG_TURNS[case]
    loaded = ensemble()
    requests = [
        loaded.start(PROMPTS[0], FIRST, schedule=schedule)[0],
        loaded.start(PROMPTS[1], SECOND, schedule=cos(2, 1), verification="coupled")[0],
    ]
    loaded.engine.submit(*(request.row for request in requests))
    with pytest.raises(ConfigurationError, match=message):
        loaded.engine.run(requests[0].row)
    loaded.engine.run(requests[1].row)
    assert tuple(requests[1].row.frontier.committed) == usual(loaded)
