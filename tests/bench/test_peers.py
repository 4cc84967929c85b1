"""Peers: what transformers can do is measured, what it cannot is named."""

import pytest

from tests import tiny
from unisono import SamplingParams, combine
from unisono.bench import peers
from unisono.errors import ConfigurationError


@pytest.mark.parametrize("name", ["transformers:generate", "transformers:assisted:2"])
def test_a_peer_decodes_as_many_tokens(name: str):
    ensemble = tiny.ensemble(tiny.models("llama"), combine="only:0")
    params = SamplingParams(max_tokens=7, temperature=0)
    tokens, seconds = peers.generate(name, ensemble, [[5, 17, 33], [4, 2]], params)
    assert tokens == 14
    assert seconds > 0


def test_what_a_peer_cannot_do_is_said():
    """transformers mixes at drafted positions, and follows one model else."""
    alone, mixture = combine.only(0), combine.weighted([0.5, 0.5])
    assert peers.missing("transformers:generate", alone, 2) is None
    assert peers.missing("transformers:assisted:3", alone, 2) is None
    assert peers.missing("transformers:ensemble:3", mixture, 2) is None
    assert (
        peers.missing("transformers:assisted:0", alone, 2) == "it needs a second member that drafts at least one token"
    )
    assert peers.missing("transformers:generate", mixture, 2) == "it decodes one model: for only:0"
    assert peers.missing("transformers:ensemble:3", alone, 2) == "it mixes two models: for weighted"
    with pytest.raises(ConfigurationError, match="did you mean 'transformers:assisted:G'"):
        peers.missing("transformers:asisted:3", alone, 2)


@pytest.mark.statistical
def test_the_static_ensemble_misses_its_law_and_we_do_not():
    """One half is exact; with one draft theirs is .65. 400 tokens: 5 standard errors are .125, false alarms below 1e-6."""
    found = peers.share_of_law(tokens=400)
    assert abs(found["unisono"] - 0.5) < 0.125
    assert abs(found["transformers:ensemble:1"] - 0.65) < 0.125
