"""Members of one model that share a cache: each has a lane of it, and nobody notices the others."""

from collections.abc import Callable

import pytest
import torch

from tests import tiny
from tests.members.test_graphs import recorded
from unisono.members.base import Context, Scores, Work
from unisono.members.hf.cache import SlotCache
from unisono.members.hf.member import HFMember

ROWS = 9


def plain(model: object) -> HFMember:
    return HFMember(model, "plain")


def compiled(model: object) -> HFMember:
    member = HFMember(model, "compiled")
    member.compile("on")
    assert member.compiled
    return member


def graphs(model: object) -> HFMember:
    return recorded(model)[0]


def assert_says(found: list[Scores], wanted: list[Scores]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("make", [plain, compiled, graphs])
@pytest.mark.parametrize("count", [2, 3])
def test_each_says_what_it_says_alone(make: Callable[[object], HFMember], count: int):
    """Rows that come and go, grow, are copied and rewound: beside twins with rows of their own, alone and in one call."""
    model = tiny.models("llama", num_hidden_layers=1)[0]
    first = make(model)
    twins = [first, *(first.twin(f"twin {index}") for index in range(1, count))]
    alone = [HFMember(model, f"alone {index}") for index in range(count)]
    generator = torch.Generator().manual_seed(count)
    slots: list[list[tuple[int, int]]] = [[] for _ in twins]  # per member: of the twin, and of the one that is alone

    def draw(most: int) -> int:
        return int(torch.randint(most, (1,), generator=generator))

    for step in range(60):
        lane = draw(count)
        pair, open = (twins[lane], alone[lane]), slots[lane]
        if len(open) < 2 or (len(open) < ROWS and draw(3) == 0):
            copied = draw(len(open)) if open and draw(2) else None
            made = [
                each.open(Context(0)) if copied is None else each.fork(open[copied][k]) for k, each in enumerate(pair)
            ]
            open.append((made[0], made[1]))
        elif draw(5) == 0:
            for each, slot in zip(pair, open.pop(draw(len(open))), strict=True):
                each.close(slot)
        picked = [open[k] for k in torch.randperm(len(open), generator=generator)[: 1 + draw(len(open))].tolist()]
        texts = [
            torch.randint(tiny.VOCABULARY, (1 + (step + k) % 20,), generator=generator) for k in range(len(picked))
        ]
        work: list[list[Work]] = [[], []]
        for slot, text in zip(picked, texts, strict=True):
            for k in (0, 1):
                work[k].append(Work(slot[k], tokens=text.tolist(), keep=len(text)))
        assert_says(pair[0].score(work[0]), pair[1].score(work[1]))
        for own, other in picked[::2]:
            length = draw(1 + pair[1].length(other))
            pair[0].rewind(own, length)
            pair[1].rewind(other, length)
    together = [Work(open[0][0], tokens=[5, 6], keep=2) for open in slots if open]
    apart = [alone[k].score([Work(open[0][1], tokens=[5, 6], keep=2)])[0] for k, open in enumerate(slots) if open]
    assert_says(twins[-1].score(together), apart)


def test_slots_of_a_twin_lie_together():
    """However rows come, so that a forward of one twin does not pass over the slots of another."""
    cache = SlotCache()
    lane = cache.add_lane()
    slots = [[], []]  # type: list[list[int]]
    for _ in range(8):
        for index in (0, lane):
            slots[index].append(cache.open(index))
    cache.reserve(slots[0] + slots[1])
    for own in slots:
        places = [cache.place(slot) for slot in own]
        assert places == list(range(places[0], places[0] + 8))
    assert len({*slots[0], *slots[1]}) == 16


def test_memory_counts_the_lanes_that_there_are():
    """Five rows of three twins take three lanes of eight slots."""
    model = tiny.models("llama", num_hidden_layers=1)[0]
    member = HFMember(model, "first")
    single = member.memory(5, 100)
    twins = [member, member.twin("second"), member.twin("third")]
    assert twins[2].memory(15, 100) == 3 * single
    slots = [twin.open(Context(0)) for twin in twins for _ in range(5)]
    twins[0].score([Work(slot, tokens=[1] * 100, keep=1) for slot in slots])
    stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in member._cache.layers)
    assert stored <= 3 * single
