"""Who steps the engine himself gets what `generate` gives."""

from dataclasses import replace
from typing import Any

import pytest

from tests.tiny import CONTEXT, text_ensemble
from unisono import RequestError, SamplingParams
from unisono.loading import Loaded, load_members
from unisono.members.hf.load import model_of

PROMPTS = ("def f(x):", "for i in range(", "héllo")


def test_rows_stepped_by_hand_are_those_of_generate():
    """Pieces come step by step, and the last one of each has its result; samples of one prompt are several requests."""
    ensemble = text_ensemble()
    params = SamplingParams(max_tokens=12, seed=3, n=2)
    own = ensemble.generate(list(PROMPTS), params)
    requests = [each for prompt in PROMPTS for each in ensemble.start(prompt, params)]
    for request in requests:
        ensemble.engine.submit(request.row)
    texts = [""] * len(requests)
    results: list[Any] = [None] * len(requests)
    drained = 0
    while None in results:
        ensemble.engine.step()
        for index, request in enumerate(requests):
            if results[index] is None:
                pieces = request.drain()
                drained += bool(pieces)
                texts[index] += "".join(piece.text for piece in pieces)
                results[index] = pieces[-1].result if pieces else None
    assert texts == [result.text for result in own]
    assert [result.token_ids for result in results] == [result.token_ids for result in own]
    assert drained > 2 * len(requests)


def test_members_may_read_different_prompts():
    """At temperature 0 under `only`, the text is that of the prompt its member reads."""
    ensemble = text_ensemble()
    params = SamplingParams(max_tokens=12, temperature=0)
    one, other = (ensemble.prompts.prepare(prompt, params) for prompt in PROMPTS[:2])
    prompts = replace(one, contexts=(one.contexts[0], other.contexts[1]))
    for member, prompt in enumerate(PROMPTS[:2]):
        (request,) = ensemble.start(prompts, params, combine=f"only:{member}", schedule="standard")
        result = request.run(ensemble.engine)
        (own,) = ensemble.generate(prompt, params, combine=f"only:{member}", schedule="standard")
        assert result.token_ids == own.token_ids


def test_what_can_never_run_is_refused():
    with pytest.raises(RequestError, match="too long"):
        text_ensemble().start([1] * (CONTEXT + 1), SamplingParams())


def test_drain_raises_what_ended_the_row():
    ensemble = text_ensemble()

    def failing(logits, warp):
        raise RequestError("no law here")

    (request,) = ensemble.start(PROMPTS[0], SamplingParams(), combine=failing)
    ensemble.engine.submit(request.row)
    ensemble.engine.step()
    ensemble.engine.step()
    with pytest.raises(RequestError, match="no law here"):
        request.drain()


def test_ensembles_may_share_weights():
    """A member that was loaded before is not loaded again; it has a cache of its own, and its own name."""
    loaded: Loaded = []
    (first,), (twin, other) = (
        load_members(members, {}, loaded)[0].members
        for members in (["zoo:code-s"], [{"model": "zoo:code-s", "name": "twin"}, "zoo:code-s"])
    )
    assert model_of(first) is model_of(twin) is model_of(other)
    assert [member.name for member in (first, twin, other)] == ["code-s", "twin", "code-s"]
    (precise,) = load_members([{"model": "zoo:code-s", "dtype": "float32"}], {}, loaded)[0].members
    assert model_of(precise) is not model_of(first)
