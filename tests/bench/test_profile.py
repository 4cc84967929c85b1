"""The profile accounts for the whole time, and changes nothing in the ensemble that it measures."""

import time
from typing import Any

import pytest

from tests import tiny
from unisono import SamplingParams
from unisono.bench.profile import BOOKKEEPING, Profile, measure, table, timed

PARAMS = SamplingParams(max_tokens=24, seed=1)


def test_parts_add_up_to_the_whole():
    """Every part of a round is seen, none twice; the text and its cost are those of the ensemble that is measured."""
    ensemble, profile = tiny.ensemble(tiny.models("llama")), Profile()
    options: Any = {"schedule": "cos:2,1", "combine": "product"}
    (own,) = ensemble.generate([[5, 17, 33]], PARAMS, **options)
    started = time.perf_counter()
    (result,) = timed(ensemble, profile, PARAMS, **options).generate([[5, 17, 33]], PARAMS)
    profile.total, profile.tokens = time.perf_counter() - started, len(result.token_ids)
    shares, names = profile.shares(), [f"forward {member.name}" for member in ensemble.members]
    assert set(shares) == {*names, "combine", "verify", BOOKKEEPING}
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())
    assert [profile.calls[name] for name in names] == [member.forwards for member in own.stats.members]
    assert table(profile).row_count == len(shares)
    assert (result.commits, result.combination, result.schedule) == (own.commits, own.combination, own.schedule)


def test_nothing_stays_behind():
    """The measured ensemble is not timed afterwards."""
    ensemble, profile = tiny.text_ensemble(), Profile()
    timed(ensemble, profile, PARAMS).generate("def f", PARAMS)
    calls = dict(profile.calls)
    ensemble.generate("def f", PARAMS)
    assert profile.calls == calls


def test_inner_parts_are_taken_from_outer_ones(monkeypatch: pytest.MonkeyPatch):
    """Time within time is counted once, where it is spent."""
    clock = iter([0.0, 10.0, 15.0, 20.0, 26.0, 100.0])  # outer starts, inner twice, outer ends
    monkeypatch.setattr("unisono.bench.profile.time.perf_counter", lambda: next(clock))
    profile = Profile()
    inner = profile.timed("inner", lambda: None)
    profile.timed("outer", lambda: (inner(), inner()))()
    assert profile.seconds == {"inner": 11.0, "outer": 89.0}
    assert profile.calls == {"inner": 2, "outer": 1}


def test_text_and_prompts_of_any_kind():
    """`measure` counts the tokens of all prompts."""
    ensemble = tiny.text_ensemble()
    assert measure(ensemble, ["for", "def f"], PARAMS, schedule="standard").tokens > 2
