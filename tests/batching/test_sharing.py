"""One model, two prompts: one copy of the weights, one cache with slots for both."""

from tests.hf import hf_members
from unisono import Ensemble, SamplingParams


def test_members_of_one_model_share_its_weights():
    """They differ in name and prompt only; each reads its own prompt, and other options load a copy of their own."""
    with_hint = {"model": "zoo:code-s", "prompt": "# short names\n{prompt}"}
    shared = Ensemble.load([with_hint, "zoo:code-s"], "weighted:0.5,0.5", dtype="float32")
    first, second = hf_members(shared)
    assert first.model is second.model
    assert shared.names == ["code-s#1", "code-s#2"]
    apart = Ensemble.load([with_hint, {"model": "zoo:code-s", "dtype": "bfloat16"}], dtype="float32")
    first, second = hf_members(apart)
    assert first.model is not second.model

    params = SamplingParams(max_tokens=12, temperature=0)
    texts = {
        shared.generate("def f(", params, schedule=name)[0].token_ids for name in ("standard", "cos:1,1", "parallel")
    }
    assert len(texts) == 1
    alone = Ensemble.load(["zoo:code-s"], dtype="float32")
    only = shared.generate("def f(", params, combine="only:0")[0]
    assert only.token_ids == alone.generate("# short names\ndef f(", params)[0].token_ids
