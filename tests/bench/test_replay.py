"""Predictions by replay: the loop does along a record what it does with the members themselves."""

from dataclasses import replace

import pytest
import torch

from tests import tiny
from unisono import SamplingParams
from unisono.bench import replay
from unisono.bench.choice import Choice
from unisono.bench.replay import Record

PROMPTS = [[5, 17, 33], [9, 9, 2, 40]]
CHOICES = ["speculative:3", "cos:1,2", "cos:2,1 coupled", "risky:1 drawn:0.3,0.7"]


def recorded(temperature: float, combine: str = "weighted:0.3,0.7") -> Record:
    ensemble = tiny.ensemble(tiny.models("llama"), combine=combine)
    return replay.record(ensemble, PROMPTS, SamplingParams(max_tokens=20, temperature=temperature))


def priced(record: Record, *prices: float) -> Record:
    """Every forward of a member costs the same, and nothing else costs anything."""
    texts = [[replace(m, price={1: each}) for m, each in zip(text, prices, strict=True)] for text in record.texts]
    return replace(record, texts=texts, price=[{1: each} for each in prices])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("text", ["speculative:3 coupled", "cos:1,2 coupled", "cos:3,1 coupled"])
def test_forwards_are_those_of_the_real_run(temperature: float, text: str, monkeypatch: pytest.MonkeyPatch):
    """Coupled texts are the record's own, so every proposal meets the same fate: as many forwards, member by member."""
    monkeypatch.setattr(replay, "PLAYS", 1)
    choice, record = Choice.parse(text), recorded(temperature)
    for member in range(2):
        alone = priced(record, *(float(index == member) for index in range(2)))
        played = replay._seconds(alone, choice)
        for prompt, seconds in zip(PROMPTS, played, strict=True):
            params = replace(record.params, seed=0)
            (result,) = record.ensemble.generate([prompt], params, **choice.overrides)
            tokens = result.stats.tokens
            assert round(seconds * tokens) == pytest.approx(result.stats.members[member].forwards)


def test_standard_is_the_measure(monkeypatch: pytest.MonkeyPatch):
    """It has speed-up 1; where drafts cost nothing and agree, as many tokens per forward as there are drafts."""
    record = recorded(1.0)
    assert replay.speedup(record, Choice("standard")) == 1
    assert replay.speedup(record, Choice("parallel")) is None
    assert replay.speedup(record, Choice("transformers:generate")) is None
    free = priced(record, 1e3, 0.0)
    free = replace(free, baseline=replay._seconds(free, Choice("standard")))
    promised = replay.speedup(free, Choice("speculative:4"))
    assert promised is not None
    assert 1 < promised < 5


def test_acceptance_is_the_overlap_with_the_target():
    """`sum min(s, r)`, by hand; the agreement of two members is that of their laws."""
    record = recorded(1.0)
    laws = [[member.logits.softmax(-1) for member in text] for text in record.texts]
    target = torch.cat([0.3 * first + 0.7 * second for first, second in laws])
    for member, found in enumerate(record.acceptances()):
        own = torch.cat([each[member] for each in laws])
        assert found == pytest.approx(float(torch.minimum(own, target).sum(-1).mean()), abs=1e-5)
    both = torch.cat([torch.minimum(*each).sum(-1) for each in laws])
    assert record.agreement(0, 1) == pytest.approx(float(both.mean()), abs=1e-5)


def test_candidates_fit_what_is_asked():
    """Draft lengths belong to the default proposer; drawing is for mixtures above temperature 0."""
    ensemble = tiny.ensemble(tiny.models("llama"), combine="weighted:0.3,0.7")
    hot, cold = (replay.candidates(ensemble, SamplingParams(temperature=each)) for each in (1.0, 0.0))
    assert hot[0] == cold[0] == Choice("standard")
    assert {"cos:1,8 block", "risky:0 drawn:0.3,0.7"} <= {choice.label for choice in hot}
    assert not any(choice.verification or choice.combine for choice in cold)
    contrast = replay.candidates(ensemble, SamplingParams(), "contrastive:0.1")
    assert not any(choice.schedule.startswith("risky") for choice in contrast)


@pytest.mark.parametrize("text", CHOICES)
def test_formulas_are_those_of_the_schedule(text: str):
    """From the record's acceptance and cost ratio; for drawing from the members' agreement."""
    record = priced(recorded(1.0), 2.0, 1.0)
    assert record.cost in (0.5, 2.0)
    found = replay.formula(record, Choice.parse(text))
    assert found is not None
    assert found > 0
    assert replay.formula(record, Choice("standard")) is None
