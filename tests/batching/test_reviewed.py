"""What reviewers broke once."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests import tiny
from tests.batching.test_engine import make_row
from tests.hf import caches
from unisono import (
    ConfigurationError,
    Ensemble,
    MemberError,
    RequestError,
    SamplingParams,
    VocabularyError,
    combine,
    zoo,
)
from unisono.combine import Combination, custom
from unisono.decoding import Schedule, Turn, View, standard
from unisono.decoding.engine import Engine
from unisono.members.base import Context
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.testing import assert_combination, assert_schedule, unequal_members


@pytest.mark.parametrize(
    "turn",
    [
        Turn((7,)),
        Turn(()),
        Turn((-1,)),
        Turn((0,), ((0, -1),)),
        Turn((0,), cast("Any", "x")),
        Turn((0,), (("nobody", 1),)),
        None,
    ],
    ids=str,
)
def test_a_turn_that_cannot_be_taken_ends_its_row_only(turn: Any):
    """The error names the schedule and reaches whoever waits for that row, not who ran the step."""
    members = unequal_members(2)
    bad, good = make_row(members, Schedule("bad", lambda view: turn), 1, 5), make_row(members, standard(), 1, 5)
    engine = Engine(Lineup(tuple(members)))
    engine.submit(bad)
    engine.submit(good)
    engine.run(good)
    with pytest.raises(ConfigurationError, match="schedule bad gave a turn"):
        engine.run(bad)


def cache_bytes(ensemble: Ensemble) -> int:
    return sum(layer.keys.nbytes + layer.values.nbytes for cache in caches(ensemble) for layer in cache.layers)


def test_the_cache_stays_within_its_budget():
    """Many short rows and then a long one: what is allocated never exceeds the budget, and goes back at the end."""
    models = list(tiny.models("llama"))
    probe = Ensemble.load(models)
    budget = sum(member.memory(2, 300) for member in probe.members)
    ensemble = Ensemble.load(models, memory=budget, rows=32)
    worst = 0

    def watched(ids: Tensor, logits: Tensor) -> Tensor:
        nonlocal worst
        worst = max(worst, cache_bytes(ensemble))
        return logits

    params = [SamplingParams(max_tokens=4, seed=1, logits_processors=[watched])] * 12
    long = SamplingParams(max_tokens=4, seed=1, prompt_logprobs=True, logits_processors=[watched])
    assert cache_bytes(ensemble) == 0
    ensemble.generate([[1, 2, 3]] * 12 + [[5] * 290], [*params, long])
    assert 0 < worst <= budget
    assert cache_bytes(ensemble) == 0
    small = Ensemble.load(models, memory=probe.members[0].memory(1, 100))
    with pytest.raises(RequestError, match="does not fit"):
        small.generate([7] * 400, SamplingParams(max_tokens=10, prompt_logprobs=True))


@pytest.mark.parametrize(
    "options", [{"rows": 0}, {"rows": -1}, {"rows": "4"}, {"rows": True}, {"memory": -1}, {"memory": "1GB"}], ids=str
)
def test_rows_and_memory_are_checked(options: dict[str, Any]):
    """They are named; `rows=0` would wait for ever."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Ensemble.load(list(tiny.models("llama")), **options)


def test_a_combination_that_cannot_be_hashed_is_refused():
    """Rows with equal combinations are computed together, so it says so at the call."""

    @dataclass
    class Mutable(Combination):
        weight_of_first: float = 0.5

        @property
        def name(self) -> str:
            return "mutable"

        def scores(self, logits: Any) -> Tensor:
            first: Tensor = logits[0]
            return first

    with pytest.raises(ConfigurationError, match="combination mutable must be hashable"):
        Ensemble.load(list(tiny.models("llama")), Mutable())


@pytest.mark.parametrize("function", [combine.weighted, combine.contrastive, combine.only])
def test_a_combination_without_its_parameters_is_refused(function: Any):
    """`combine.weighted` for `combine.weighted([...])` is a slip of the pen."""
    with pytest.raises(ConfigurationError, match="must be called"):
        Ensemble.load(list(tiny.models("llama")), function)


def test_prompts_that_are_no_text_are_refused():
    """Half a surrogate pair, as the shell hands over bytes that are not UTF-8."""
    ensemble = tiny.text_ensemble()
    for call in (
        lambda: ensemble.generate("x\udcff"),
        lambda: ensemble.logprobs("x\udcff", "y"),
        lambda: ensemble.chat([{"role": "user", "content": "\udcff"}]),
    ):
        with pytest.raises(RequestError, match="UTF-8"):
            call()


def test_log_probabilities_do_not_underflow():
    """A sharp product gives tokens probabilities far below what float32 can hold; their logarithms are finite."""
    ensemble = tiny.text_ensemble()
    score = ensemble.logprobs("the cat", "zqxj zqxj", combine="product:9,9")
    assert min(score.logprobs) < -104
    assert all(torch.isfinite(torch.tensor(score.logprobs)))


def test_misspelt_options_of_load_name_the_nearest():
    """Its own names are candidates too."""
    with pytest.raises(ConfigurationError, match="did you mean 'schedule'"):
        Ensemble.load(list(tiny.models("llama")), schedul="standard")


class Breaking(TableMember):
    """A member whose third slot cannot be had."""

    def open(self, context: Context) -> int:
        if len(self._slots) >= 2:
            raise MemoryError("no memory for a slot")
        return super().open(context)


def test_a_slot_that_cannot_be_had_ends_its_row_only():
    """The row that was to get it ends with the error; those that run go on, and nothing is left behind."""
    table = unequal_members(1)[0]._logits.exp()
    members = [Breaking(table), Breaking(table.flip(-1))]
    engine, rows = Engine(Lineup(tuple(members))), [make_row(members, standard(), seed, 5) for seed in range(3)]
    for row in rows:
        engine.submit(row)
    for row in rows[:2]:
        engine.run(row)
    with pytest.raises(MemoryError):
        engine.run(rows[2])
    assert all(not member._slots for member in members)


def test_a_stream_that_is_closed_in_the_middle_of_a_step():
    """The garbage collector may do that: the row ends with the step, and the one that runs it does not notice."""
    ensemble = tiny.text_ensemble()
    alone = ensemble.generate("the cat", SamplingParams(max_tokens=12, seed=1))[0].token_ids
    abandoned = ensemble.stream("a dog", SamplingParams(max_tokens=50, seed=2))
    next(abandoned)
    calls = []

    def closing(ids: Tensor, logits: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            abandoned.close()
        return logits

    found = ensemble.generate("the cat", SamplingParams(max_tokens=12, seed=1, logits_processors=[closing]))[0]
    assert found.token_ids == alone
    assert all(not cache.lengths for cache in caches(ensemble))


def test_decoding_inside_a_processor_is_refused():
    """It would run the other rows in the middle of their step."""
    ensemble = tiny.text_ensemble()

    def nested(ids: Tensor, logits: Tensor) -> Tensor:
        ensemble.generate("a dog", SamplingParams(max_tokens=2))
        return logits

    with pytest.raises(RequestError, match="must not decode with the ensemble that runs it"):
        ensemble.generate("the cat", SamplingParams(max_tokens=4, logits_processors=[nested]))
    assert len(ensemble.generate("the cat", SamplingParams(max_tokens=4, seed=1, ignore_eos=True))[0].token_ids) == 4


@pytest.mark.parametrize("process", [lambda ids, logits: logits[0], lambda ids, logits: None], ids=["shape", "none"])
def test_processors_must_return_logits(process: Any):
    """A wrong shape is named."""
    with pytest.raises(RequestError, match="must return logits of shape"):
        tiny.text_ensemble().generate("the cat", SamplingParams(max_tokens=4, logits_processors=[process]))


@pytest.mark.parametrize(
    "options",
    [{"logit_bias": {5: 1e39}}, {"presence_penalty": -1e308}, {"repetition_penalty": 1e-308}, {"temperature": 10**400}],
    ids=["bias", "presence", "repetition", "temperature"],
)
def test_values_beyond_float32_are_refused(options: dict[str, Any]):
    """Infinity minus infinity is no law."""
    with pytest.raises(RequestError, match=next(iter(options))):
        SamplingParams(**options)


def test_huge_biases_and_penalties_are_honoured():
    """At the ends of their ranges a bias wins, and the law stays a law."""
    params = SamplingParams(max_tokens=3, ignore_eos=True, logit_bias={65: 1e6}, presence_penalty=-1e6)
    assert tiny.text_ensemble().generate("the cat", params)[0].token_ids == (65, 65, 65)


def test_schedules_know_how_much_room_is_left():
    """One that drafts until so many proposals are open comes to an end at the end of the row."""

    def turn(view: View) -> Turn:
        waiting = view.open < 2 and view.room > 0
        return Turn((view.proposer,), ((view.proposer, 2 - view.open),)) if waiting else Turn((view.least_scored(),))

    assert_schedule(Schedule("patient:2", turn))


def test_the_conformance_suite_finds_what_is_wrong():
    """It takes names, objects and functions, and fails for a law that is not followed."""
    assert_combination(lambda logits, warp: warp(logits[0] + 0.5 * logits[1]))
    turns = iter(range(10**6))
    unsteady = custom(lambda logits, warp: warp(logits[next(turns) % 2]))
    with pytest.raises(AssertionError, match="is off by"):
        assert_combination(unsteady)


def test_a_model_without_all_its_weights_is_refused(tmp_path: Path):
    """transformers would fill them with random numbers and only log it."""
    shutil.copytree(zoo.path("code-s"), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(MemberError, match=r"lacks 1 of its weights, among them model.layers.0.mlp.up_proj.weight"):
        Ensemble.load([tmp_path / "model"])


def test_weights_that_are_not_numbers_are_refused():
    """The reason is named, not a wrong one."""
    model = tiny.build("llama")
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(MemberError, match="not numbers"):
        Ensemble.load([model])


def test_a_member_without_a_tokenizer_beside_one_with_is_refused():
    """Its tokens could mean anything."""
    first, second = tiny.text_models()
    with pytest.raises(VocabularyError, match="has no tokenizer"):
        Ensemble.load([{"model": first, "tokenizer": tiny.tokenizer()}, second])


def test_a_function_may_change_what_it_is_given():
    """Log-probabilities come from copies of their own, in the members' type."""
    ensemble, matrix = tiny.text_ensemble(), torch.eye(300)
    params = SamplingParams(max_tokens=6, seed=1, logprobs=True, ignore_eos=True)
    inplace = ensemble.generate("the cat", params, combine=lambda logits, warp: warp(logits[0].add_(logits[1])))[0]
    plain = ensemble.generate("the cat", params, combine=lambda logits, warp: warp((logits[0] + logits[1]) @ matrix))[0]
    assert inplace.token_ids == plain.token_ids
    assert inplace.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


def test_parameters_cannot_be_changed_from_outside():
    """The caller's mapping is copied."""
    bias = {1: 2.0}
    params = SamplingParams(logit_bias=bias)
    bias[1] = -5.0
    assert params.logit_bias == {1: 2.0}


@pytest.mark.parametrize("turn", [Turn((1, 0), ((0, 2),)), Turn((0, 0))], ids=str)
def test_members_that_run_together_are_different_and_propose_nothing(turn: Turn):
    """Otherwise it would be anybody's guess who proposes."""
    members = unequal_members(2)
    row, engine = make_row(members, Schedule("odd", lambda view: turn), 1, 5), Engine(Lineup(tuple(members)))
    engine.submit(row)
    with pytest.raises(ConfigurationError, match="run together"):
        engine.run(row)
