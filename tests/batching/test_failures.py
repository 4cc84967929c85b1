"""One row's misfortune is its own: laws that are none, samples that end early, streams that are collected in a step."""

import gc
import threading
from collections.abc import Generator, Sequence

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.batching.test_engine import make_row
from tests.hf import caches, hf_members
from unisono import Ensemble, RequestError, SamplingParams
from unisono.combine import Combination, Positions, as_combination
from unisono.decoding import Schedule, cos, parallel, standard
from unisono.decoding.engine import Engine
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.errors import ConfigurationError
from unisono.members.base import Scores, Work
from unisono.members.hf.attention import lock_of
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.request import Scoring, score_all
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import AnyWarp, Warp
from unisono.testing import contexts, unequal_members
from unisono.text.prompts import Prepared

CERTAIN = [TableMember(torch.tensor([law] * 3)) for law in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])]


def certain_row(combination: str, schedule: Schedule, logprobs: int | None = None) -> Row:
    method = Method(as_combination(combination, 2), schedule, VERIFICATIONS["token"], 0)
    return Row(Lineup(tuple(CERTAIN)), method, Task(contexts(CERTAIN), Warp(), 5, logprobs=logprobs), KeyedNoise(1))


@pytest.mark.parametrize("logprobs", [None, 0, 2])
def test_a_position_without_a_law_ends_its_row_only(logprobs: int | None):
    """Members that rule out each other's token: the row that combines them fails, the one beside it does not notice."""
    bad, good = certain_row("contrastive:0.1", cos(1, 1), logprobs), certain_row("weighted:0.5,0.5", standard())
    engine = Engine(Lineup(tuple(CERTAIN)))
    engine.submit(bad, good)
    engine.run(good)
    assert len(good.frontier.committed) == 5
    with pytest.raises(RequestError, match="no possible token"):
        engine.run(bad)


@pytest.mark.parametrize("schedule", ["standard", "cos:2,1"])
@pytest.mark.parametrize("top_k", [0, 1, 20])
def test_tokens_that_exclude_each_other_are_an_error(schedule: str, top_k: int):
    """Only end tokens are allowed, and the text may not end yet."""
    ends = [3, 4, 5]
    params = SamplingParams(
        top_k=top_k, allowed_token_ids=ends, stop_token_ids=ends, min_tokens=4, max_tokens=6, seed=1
    )
    with pytest.raises(RequestError, match="leaves no possible token"):
        tiny.text_ensemble().generate("the cat sat on", params, schedule=schedule)


def test_scoring_where_there_is_no_law_is_an_error():
    """Not a number that is none."""
    prepared = Prepared(contexts(CERTAIN), (0, 2, 1), Warp())
    scoring = Scoring(Lineup(tuple(CERTAIN)), as_combination("contrastive:0.1", 2), prepared)
    with pytest.raises(RequestError, match="no possible token"):
        score_all([scoring], Engine(Lineup(tuple(CERTAIN))))


class Narrow(Combination):
    """A law of one token less."""

    name = "narrow"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        return warp(positions.scores[0].logits[..., :-1])


def test_a_law_of_the_wrong_size_is_its_rows_error():
    members = unequal_members(2)
    method = Method(Narrow(), standard(), VERIFICATIONS["token"], 0)
    lineup = Lineup(tuple(members))
    bad = Row(lineup, method, Task(contexts(members), Warp(), 5), KeyedNoise(1))
    engine, good = Engine(lineup), make_row(members, standard(), 1, 5)
    engine.submit(bad, good)
    engine.run(good)
    with pytest.raises(
        ConfigurationError, match=r"combination narrow must return a law of shape \(1, 3\), not: \(1, 2\)"
    ):
        engine.run(bad)


def test_a_sample_that_is_not_in_line_yet_inherits_nothing():
    """The first of three ends before the others are submitted, as when another thread steps in between."""
    members = unequal_members(2)
    engine = Engine(Lineup(tuple(members)))
    rows = [make_row(members, standard(), seed, 2) for seed in range(3)]
    for row in rows:
        row.siblings = rows
    engine.submit(rows[0])
    engine.run(rows[0])
    assert not rows[1].slots
    engine.submit(rows[1], rows[2])
    for row in rows:
        engine.run(row)
    assert [len(row.frontier.committed) for row in rows] == [2, 2, 2]
    assert [member._slots for member in members] == [{}, {}]


class Collecting(TableMember):
    """Collects garbage in the middle of a forward."""

    active = False

    def score(self, work: Sequence[Work]) -> list[Scores]:
        if self.active and threading.current_thread() is not threading.main_thread():
            gc.collect()
        return super().score(work)


def test_a_stream_that_is_collected_while_members_run_in_other_threads():
    """Cancelling from there must not wait for the step that waits for that thread."""
    members = [Collecting(member._logits.exp()) for member in unequal_members(2)]
    engine = Engine(Lineup(tuple(members)))
    row, other = make_row(members, standard(), 1, 50), make_row(members, parallel(), 2, 8)

    def stream() -> Generator[int, None, None]:
        engine.submit(row)
        try:
            while True:
                engine.step()
                yield 1
        finally:
            engine.cancel(row)

    class Cycle:
        pass

    cycle = Cycle()
    cycle.stream, cycle.itself = stream(), cycle  # type: ignore[attr-defined]
    gc.disable()
    try:
        next(cycle.stream)  # type: ignore[attr-defined]
        del cycle
        engine.submit(other)
        for member in members:
            member.active = True
        runner = threading.Thread(target=engine.run, args=(other,), daemon=True)
        runner.start()
        runner.join(120)
        assert not runner.is_alive(), "the step waits for itself"
    finally:
        gc.enable()
    assert row.finished
    assert [member._slots for member in members] == [{}, {}]


def test_the_cache_stays_within_the_budget_beside_wider_rows():
    """A long row is padded to the new tokens of a row that joins: room for that is counted."""
    models = list(tiny.models("llama", 1))
    budget = Ensemble.load(models).members[0].memory(2, 128)
    ensemble = Ensemble.load(models, memory=budget, rows=2)
    member, sizes = ensemble.members[0], []
    (cache,), score = caches(ensemble), member.score

    def measured(work: Sequence[Work]) -> list[Scores]:
        found = score(work)
        sizes.append(sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers))
        return found

    member.score = measured  # type: ignore[method-assign]
    stream = ensemble.stream([1, 2, 3, 4], SamplingParams(max_tokens=124, seed=1))
    for _ in range(120):
        next(stream)
    ensemble.generate([[5] * 16], SamplingParams(max_tokens=8, seed=2))
    list(stream)
    assert max(sizes) <= budget


def test_members_of_one_model_take_turns():
    """Its attention may be exchanged for a forward, so one lock guards the model, whoever loaded it."""
    (model,) = tiny.models("llama", 1)
    first, second = (hf_members(Ensemble.load([model]))[0] for _ in range(2))
    assert first._lock is second._lock is lock_of(model)


def test_banned_words_that_no_member_has_are_no_error():
    """A word of ids beyond the common vocabulary cannot appear anyway."""
    ensemble = tiny.ensemble(tiny.models("llama"))
    params = SamplingParams(max_tokens=4, seed=1)
    row = ensemble.start([1, 2], params)[0].row
    logits = torch.zeros(1, row.vocabulary)
    assert torch.equal(Edits(banned=((row.vocabulary + 5,),))(logits, [1], [[]]), logits)


@pytest.mark.parametrize("schedule", ["standard", "speculative:4", "cos:1,1", "cos:3,2", "parallel"])
def test_processors_are_not_asked_about_what_follows_an_end(schedule: str):
    """A processor that knows no continuation behind an end, as transformers' prefix constraint, works under all schedules."""
    ensemble = tiny.ensemble(tiny.models("llama"))
    ends = list(range(0, tiny.VOCABULARY, 3))

    def constrained(ids: Tensor, logits: Tensor) -> Tensor:
        if any(int(token) in ends for token in ids[0][2:]):
            raise RuntimeError("asked behind the end")
        return logits

    for seed in range(6):
        params = SamplingParams(max_tokens=20, seed=seed, stop_token_ids=ends, logits_processors=[constrained])
        (result,) = ensemble.generate([[5, 7]], params, schedule=schedule)
        assert result.finish_reason == "stop"


def test_an_interrupt_ends_what_was_half_done():
    """The one who interrupts gets the interrupt, another row an error; neither is gone on with, and slots are free."""
    members = unequal_members(2)
    rows = [make_row(members, standard(), seed, 20) for seed in range(2)]
    engine = Engine(Lineup(tuple(members)))
    engine.submit(*rows)
    engine.step()
    score = members[0].score

    def interrupted(work: Sequence[Work]) -> list[Scores]:
        score(work)
        raise KeyboardInterrupt

    members[0].score = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        engine.run(rows[0])
    with pytest.raises(RequestError, match="in the middle of a step"):
        engine.run(rows[1])
    assert [member._slots for member in members] == [{}, {}]
