"""What a seed repeats, and where it does not, is said and true."""

import itertools
from typing import Any

import pytest
import torch
from typer.main import get_command

from tests.tiny import blend, models, text_models, tokenizer
from tests.tiny import ensemble as loaded
from unisono import Ensemble, SamplingParams, cli
from unisono.cli.render import summary

PROMPT = [5, 17, 33]


def half() -> list[Any]:
    return [blend(model, 0, seed=0).to(torch.bfloat16) for model in models("llama")]


def erratic(ensemble: Ensemble, patch: pytest.MonkeyPatch, first: int) -> None:
    """Let the engine believe in other times of forwards."""
    ticks = itertools.accumulate(itertools.cycle([0.001, 0.9, 0.002, 0.03, 3.0, 0.1][first:] + [0.5] * first))
    patch.setattr("unisono.decoding.engine.time.perf_counter", lambda: next(ticks))


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("seed", [None, 7])
def test_deterministic_members_repeat_a_text_whatever_the_times(monkeypatch, temperature, seed):
    """In bfloat16, under `auto`, by the given seed and by the reported one: the same forwards, to the number."""
    ensemble = loaded(half(), deterministic=True)
    params = SamplingParams(max_tokens=40, temperature=temperature, seed=seed)
    (first,) = ensemble.generate([PROMPT], params)
    assert first.schedule != "auto"
    again = SamplingParams(max_tokens=40, temperature=temperature, seed=first.seed)
    for shift in (0, 1, 3):
        with monkeypatch.context() as patch:
            erratic(ensemble, patch, shift)
            (found,) = ensemble.generate([PROMPT], again)
        assert found.commits == first.commits
        assert [each.forwards for each in found.stats.members] == [each.forwards for each in first.stats.members]


def test_auto_goes_by_times_elsewhere():
    """What the option changes; it does not change a schedule that is asked for."""
    for options, chosen in (({}, "auto"), ({"deterministic": True}, "cos:1,1")):
        ensemble = loaded(half(), **options)
        assert ensemble.method(SamplingParams(seed=1)).names["schedule"] == chosen
        assert ensemble.method(schedule="cos:2,1").names == {
            "combination": "weighted:0.5,0.5", "schedule": "cos:2,1", "verification": "token"
        }  # fmt: skip


def test_only_half_precision_rounds_away_a_text():
    """float32 does not, nor do deterministic members."""
    assert loaded(half()).lineup.rounding == "bfloat16"
    assert loaded(half(), deterministic=True).lineup.rounding is None
    assert loaded(models("llama")).lineup.rounding is None


@pytest.mark.parametrize(
    ("precision", "options", "params", "word"),
    [
        (torch.float32, {}, {}, "auto decides by times"),
        (torch.float32, {}, {"seed": 3}, None),
        (torch.float32, {}, {"temperature": 0}, None),
        (torch.float32, {"schedule": "cos:1,1"}, {}, None),
        (torch.bfloat16, {}, {}, "auto decides by times"),
        (torch.bfloat16, {}, {"seed": 3}, "--deterministic"),
        (torch.bfloat16, {}, {"temperature": 0}, "--deterministic"),
        (torch.bfloat16, {"schedule": "cos:1,1"}, {"seed": 3}, None),
        (torch.bfloat16, {"deterministic": True}, {}, None),
    ],
)
def test_the_line_under_a_text_says_why_its_seed_may_not_repeat_it(precision, options, params, word):
    members = [blend(model, 0, seed=0).to(precision) for model in text_models()]
    ensemble = loaded(members, tokenizer(), **options)
    settings = SamplingParams(max_tokens=8, **params)
    told = summary(ensemble.generate("def f", settings)[0], ensemble, settings)
    assert told.count("\n") == 0
    assert told.endswith(")") if word is None else word in told.rpartition(")")[2]


def test_the_help_promises_what_holds():
    """No more than: float32, or up to a near-tie; and not without a seed."""
    commands: Any = get_command(cli.app)
    helps = {option.name: option.help for option in commands.commands["generate"].params}
    for word in ("same seed and options", "float32", "near-tie", "--deterministic", "may depend on measured times"):
        assert word in helps["seed"]
    assert "half precision" in helps["deterministic"]
