"""The host waits for a device once per round: tokens stay where they are drawn until their verification is fetched.

There is no second device here, so `on_host` is made to deny that the host can read the processor's memory.
"""

import pytest
import torch
from torch import Tensor

from tests import tiny
from unisono import Ensemble, SamplingParams, transfer
from unisono.decoding import drafting
from unisono.decoding.engine import Engine

SCHEDULES = ("standard", "parallel", "speculative:4", "cos:4,1", "cos:1,1", "cos:2,3")
PROMPTS = [[5, 9, 2], [7, 7, 1, 3, 8, 30, 4], [11]]
READS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "cpu", "numpy")


@pytest.fixture
def ensemble() -> Ensemble:
    return tiny.ensemble(tiny.models("llama"))


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The processor's memory counts as a device; lists every time that the host reads from it."""
    waits: list[str] = []
    for name in READS:
        original = getattr(Tensor, name)

        def read(self: Tensor, *args: object, name: str = name, original: object = original) -> object:
            waits.append(name)
            return original(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(Tensor, name, read)
    for module in (transfer, drafting):
        monkeypatch.setattr(module, "on_host", lambda tensor: False)
    return waits


def texts(ensemble: Ensemble, schedule: str, params: SamplingParams) -> list[tuple[int, ...]]:
    return [result.token_ids for result in ensemble.generate(PROMPTS, params, schedule=schedule)]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("logprobs", [False, True])
def test_a_step_waits_once(ensemble: Ensemble, far: list[str], schedule: str, logprobs: bool, monkeypatch):
    """However many rows settle and however long the drafts are, also with log-probabilities: one `cpu()`, one `tolist()` per
    tensor of what it brought, nothing else."""
    per_step: list[int] = []
    step = Engine.step

    def counted(self: Engine) -> None:
        before = far.count("cpu")
        step(self)
        per_step.append(far.count("cpu") - before)

    monkeypatch.setattr(Engine, "step", counted)
    params = SamplingParams(max_tokens=20, seed=3, logprobs=logprobs, top_logprobs=2 if logprobs else 0)
    (result, *_) = ensemble.generate(PROMPTS, params, schedule=schedule)
    assert set(far) <= {"cpu", "tolist"}
    assert max(per_step) == 1
    assert sum(per_step) >= result.stats.rounds // 2


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_tokens=24, seed=4),
        SamplingParams(max_tokens=24, temperature=0),
        SamplingParams(max_tokens=24, seed=4, top_k=20, repetition_penalty=1.3, presence_penalty=0.2),
        SamplingParams(max_tokens=24, seed=4, stop_token_ids=[3, 5, 8, 13, 21, 34, 55, 89, 144]),
    ],
    ids=["sampled", "greedy", "edited", "ends"],
)
def test_tokens_that_stay_on_a_device_make_the_same_text(
    ensemble: Ensemble, schedule: str, params: SamplingParams, monkeypatch: pytest.MonkeyPatch
):
    """Drafts of tensors, verified and fetched later, are those of numbers, also where laws or ends depend on tokens."""
    wanted = texts(ensemble, schedule, params)
    for module in (transfer, drafting):
        monkeypatch.setattr(module, "on_host", lambda tensor: False)
    assert texts(ensemble, schedule, params) == wanted


def test_fetch_keeps_values_types_and_shapes(monkeypatch: pytest.MonkeyPatch):
    """Ids up to 2**53, floats of both sizes, infinities and truth values come over as they are."""
    tensors = [
        torch.tensor([2**53, 0, 7]),
        torch.tensor([[0.1], [-torch.inf]]),
        torch.tensor(1 / 3, dtype=torch.float64),
        torch.tensor([True, False]),
        torch.empty(0, dtype=torch.long),
        torch.empty(2, 0),
    ]
    near = transfer.fetch(tensors)
    monkeypatch.setattr(transfer, "on_host", lambda tensor: False)
    assert transfer.fetch(tensors) == near


def test_token_tensor_takes_numbers_and_tensors():
    """Numbers and tensors in any order become one tensor."""
    device = torch.device("cpu")
    mixed: list[transfer.Token] = [4, torch.tensor(5), 6, torch.tensor(7)]
    assert transfer.token_tensor(mixed, device).tolist() == [4, 5, 6, 7]
    assert transfer.token_tensor([], device).tolist() == []
