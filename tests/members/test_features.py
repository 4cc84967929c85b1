"""Hidden states of transformers models: those that transformers itself reports, behind the final norm."""

import pytest
import torch

from tests import tiny
from tests.members.test_graphs import recorded
from unisono.members.base import Context, Scores, Work
from unisono.members.hf.member import HFMember

TEXT = [5, 7, 11, 13, 17, 19]
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3", "gpt2")


def scored(member: HFMember, *parts: list[int], features: bool = True) -> list[Scores]:
    """Score a text part by part in one slot."""
    slot = member.open(Context(0))
    found = [member.score([Work(slot, tokens=part, keep=len(part), features=features)])[0] for part in parts]
    member.close(slot)
    return found


def reported(model: object, text: list[int]) -> torch.Tensor:
    """The last hidden states [T, D] that transformers reports."""
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([text]), output_hidden_states=True, use_cache=False)  # type: ignore[operator]
    states: torch.Tensor = output.hidden_states[-1][0]
    return states


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_they_are_what_transformers_reports(architecture: str):
    (model,) = tiny.models(architecture, 1)
    member = HFMember(model, "first")
    parts = scored(member, TEXT[:4], TEXT[4:])
    found = torch.cat([each.features for each in parts if each.features is not None])
    assert found.shape == (len(TEXT), member.width)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, reported(model, TEXT), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_they_come_behind_the_final_norm(architecture: str):
    """The model's output layer alone makes the logits of them."""
    (model,) = tiny.models(architecture, 1)
    (found,) = scored(HFMember(model, "first"), TEXT)
    assert found.features is not None
    with torch.inference_mode():
        logits = model.get_output_embeddings()(found.features)
    torch.testing.assert_close(logits, found.logits, atol=1e-4, rtol=1e-4)


def test_they_are_given_only_where_they_are_asked_for():
    """Rows of both kinds in one call; a row is scored as in a call of its own."""
    member = HFMember(tiny.models("llama", 1)[0], "first")
    slots = [member.open(Context(0)) for _ in range(3)]
    texts = [TEXT[:2], TEXT[:5], TEXT[1:4]]
    work = [
        Work(slot, tokens=text, keep=1 + place, features=place != 1)
        for place, (slot, text) in enumerate(zip(slots, texts, strict=True))
    ]
    for place, (said, text) in enumerate(zip(member.score(work), texts, strict=True)):
        (alone,) = scored(member, text)
        assert alone.features is not None
        torch.testing.assert_close(said.logits, alone.logits[-1 - place :], atol=1e-4, rtol=0)
        if place == 1:
            assert said.features is None
        else:
            assert said.features is not None
            torch.testing.assert_close(said.features, alone.features[-1 - place :], atol=1e-4, rtol=1e-4)


def test_a_member_with_recorded_forwards_gives_them_without_and_says_so_once(caplog: pytest.LogCaptureFixture):
    member = recorded(tiny.models("llama", 1, num_hidden_layers=1)[0])[0]
    assert member.compiled
    scored(member, TEXT, features=False)
    assert not lines(caplog)
    (found,) = scored(member, TEXT)
    scored(member, TEXT)
    assert lines(caplog) == [
        f"member {member.name} runs without compiled forwards where its hidden states are asked for"
    ]
    assert found.features is not None
    torch.testing.assert_close(found.features, reported(member.model, TEXT), atol=1e-4, rtol=1e-4)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the members have logged."""
    return [record.getMessage() for record in caplog.records if record.name == "unisono.members"]
