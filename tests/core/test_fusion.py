"""CoSD, cascades, gates and steering: each law is its paper's rule, and lazy laws are the full ones."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, observed
from tests.laws import certain, fixed, heard_by, law_of
from unisono.combine import (
    Combination,
    cascade,
    context_aware,
    cosd,
    cosd_tree,
    gate,
    guidance,
    nudge,
    proxy,
    realign,
    weighted,
)
from unisono.combine.base import target_law
from unisono.combine.cosd import Fusion
from unisono.combine.tree import FORMAT, read_tree
from unisono.decoding import cos, speculative, standard
from unisono.errors import ConfigurationError
from unisono.sampling.logits_edits import EditedWarp, Edits
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import assert_combination

WARPS = [Warp(), Warp(0.7, top_k=3), Warp(1.4, top_p=0.8), Warp(0)]
ALL_WARPS = pytest.mark.parametrize("warp", WARPS, ids=str)
TREE = {
    "feature": "p_draft",
    "threshold": 0.4,
    "low": {"feature": "p_assistant", "threshold": 0.35, "low": {"replace": False}, "high": {"replace": True}},
    "high": {"feature": "p_draft", "threshold": 0.8, "low": {"replace": False}, "high": {"replace": False}},
}


def members(count: int, seed: int = 0, rows: int = 200, vocabulary: int = 6, spread: float = 2.0) -> list[Tensor]:
    """Logits [rows, V] per member, float64, not normalised: some rows sure, some not."""
    generator = torch.Generator().manual_seed(seed)
    scale = spread * torch.rand(count, rows, 1, generator=generator, dtype=torch.float64)
    return list(scale * torch.randn(count, rows, vocabulary, generator=generator, dtype=torch.float64))


@pytest.fixture
def tree_file(tmp_path: Path) -> str:
    path = tmp_path / "tree.json"
    path.write_text(json.dumps({"format": FORMAT, "tree": TREE}))
    return str(path)


def by_tree(draft: float, assistant: float) -> bool:
    return draft <= 0.4 and assistant > 0.35


def reference(rule, draft_law: Tensor, plain: list[Tensor]) -> Tensor:
    """One position, token by token: where does the mass of each token of the draft go?"""
    law = torch.zeros_like(draft_law)
    for x, mass in enumerate(draft_law.tolist()):
        tops = [(int(p.argmax()), float(p.max())) for p in plain[1:]]
        goals = [y for y, v in tops if y != x and rule(float(plain[0][x]), v)]
        law[goals[0] if goals else x] += mass
    return law


@ALL_WARPS
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", ["rule", "tree"])
def test_fusion_moves_mass_as_the_rule_says(warp: Warp, count: int, kind: str, tree_file: str):
    """Also where the first assistant keeps and the second one replaces."""
    rule = by_tree if kind == "tree" else lambda u, v: u < 0.45 and v > 0.7 * u
    combination = cosd_tree(tree_file) if kind == "tree" else cosd(0.45, 0.7)
    logits = members(count)
    found = law_of(combination, logits, warp)
    moved = 0
    for row in range(len(logits[0])):
        plain = [torch.softmax(each[row], -1) for each in logits]
        wanted = reference(rule, (Warp() if warp.greedy else warp)(logits[0][row]), plain)
        moved += bool((wanted - plain[0]).abs().max() > 0.01)
        wanted = torch.eye(6, dtype=torch.float64)[wanted.argmax()] if warp.greedy else wanted
        torch.testing.assert_close(found[row], wanted, atol=1e-12, rtol=0)
    assert moved > 20


def test_greedy_cosd_is_the_papers_loop_where_the_draft_leads():
    """At temperature 0 the argmax of the law is the paper's greedy choice unless a kept token is outweighed.

    The paper replaces the draft's top token alone; the law also moves the mass of the others, which may outweigh it.
    """
    logits = members(2, rows=2000)
    found = law_of(cosd(), logits, Warp(0)).argmax(-1).tolist()
    different = 0
    for row, token in enumerate(found):
        q, p = (torch.softmax(each[row], -1) for each in logits)
        x, y = int(q.argmax()), int(p.argmax())
        replaced = x != y and q[x] < 0.5 and p[y] > 0.5 * q[x]
        papers = y if replaced else x
        if replaced or q[x] > 0.5:
            assert token == papers
        different += token != papers
    assert 0 < different < 0.05 * len(found)


def test_cosd_by_hand():
    """Token 0 is sure enough, token 2 is unsure but the assistant is no surer, the rest moves to token 1."""
    q, p = torch.tensor([[0.5, 0.1, 0.1, 0.3]]), torch.tensor([[0.3, 0.4, 0.2, 0.1]])
    law = law_of(cosd(0.5, 0.5), [q.log(), p.log()], Warp())
    torch.testing.assert_close(law, torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
    law = law_of(cosd(0.5, 1.5), [q.log(), p.log()], Warp())
    torch.testing.assert_close(law, torch.tensor([[0.5, 0.2, 0.0, 0.3]]))


def test_a_later_assistant_is_asked_only_where_no_earlier_rule_fired():
    """The first assistant takes what it is sure of; the second one the rest, at another top token."""
    q = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    first, second = torch.tensor([[0.1, 0.25, 0.35, 0.3]]), torch.tensor([[0.1, 0.1, 0.1, 0.7]])
    law = law_of(cosd(0.5, 1.0), [each.log() for each in (q, first, second)], Warp())
    # 0 (.4 > .35): kept by the first, moved by the second; 1 and 3: moved to 2; 2: the first's own, moved by the second
    torch.testing.assert_close(law, torch.tensor([[0.0, 0.0, 0.4, 0.6]]))


def test_banned_tokens_are_no_replacement():
    """The assistant's top token is the top one among those that edits allow."""
    logits = [torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log(), torch.tensor([[0.05, 0.05, 0.2, 0.7]]).log()]
    warp = EditedWarp(Warp(), Edits(bias={3: -1e9}), (0,), [()])
    assert law_of(cosd(0.5, 0.2), logits, warp)[0, 3] == 0
    assert law_of(cosd(0.5, 0.2), logits, warp)[0, 2] > 0.9
    # What it says of that token is read without the edits: .2, which is less than the draft's .4 and .3
    torch.testing.assert_close(law_of(cosd(0.5, 1.0), logits, warp)[0], torch.tensor([4 / 9, 3 / 9, 2 / 9, 0.0]))


def test_an_assistant_to_whom_everything_possible_is_banned_replaces_nothing():
    """It has no top token; the draft's law stays as it is."""
    logits = [torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log(), torch.tensor([[0.9, 0.1, 0.0, 0.0]]).log()]
    warp = EditedWarp(Warp(), Edits(allowed=(2, 3)), (0,), [()])
    torch.testing.assert_close(law_of(cosd(0.5, 0.1), logits, warp)[0], torch.tensor([0.0, 0.0, 2 / 3, 1 / 3]))


def test_no_possible_token_is_not_a_law():
    """The draft leaves nothing: nan, which the engine turns into an error, whatever the assistant says."""
    logits = [torch.full((1, 4), -torch.inf), torch.zeros(1, 4)]
    assert bool(law_of(cosd(), logits, Warp()).isnan().all())


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("warp", [Warp(), Warp(0)], ids=str)
def test_a_member_whose_scores_are_not_numbers_is_not_covered_for(warp: Warp, broken: int):
    """nan, which the engine turns into an error; the other member is never taken in silence where both are looked at."""
    logits = [torch.tensor([[0.1, 0.2, 0.7]]).log(), torch.tensor([[0.3, 0.4, 0.3]]).log()]
    logits[broken] = torch.full((1, 3), torch.nan)
    asking_both = [cosd(0.8), nudge(0.8), gate([1, 1], 0.8), gate([1, 1], 0.1, by="entropy"), cascade("chow", 0.2)]
    for combination in (*asking_both, cascade("opt", 0.5), cascade("tokenv3", 0.5), realign(0.5), guidance(1.5)):
        assert bool(law_of(combination, logits, warp).isnan().all()), combination.name


def test_tokens_at_a_threshold():
    """q(x) = alpha is kept, p(y) = beta q(x) does not replace; gates are sure at their threshold, as are cascades."""
    q, p = (torch.tensor([values], dtype=torch.float64).log() for values in ([0.5, 0.25, 0.25], [0.25, 0.125, 0.625]))
    half = [float(torch.softmax(logits, -1).max()) for logits in (q, p)]
    assert half[0] == 0.5  # exactly, or this test says nothing
    kept, moved = law_of(cosd(0.5, 0.5), [q, p], Warp()), law_of(cosd(0.51, 0.5), [q, p], Warp())
    assert [round(float(law[0, 0]), 9) for law in (kept, moved)] == [0.5, 0.0]
    assert float(law_of(cosd(1, half[1] / 0.5), [q, p], Warp())[0, 0]) == 0.5
    assert fixed(cosd(0.5), [q, p], (0,), Warp()).tolist() == [False]
    assert fixed(cosd(0.5), [torch.tensor([[1.0, 0.0, 0.0]]).log(), p], (0,), Warp()).tolist() == [True]
    assert certain(cosd(0.5), [q, p], (0,), Warp(), torch.tensor([0]), Warp()(q)[:, 0]).tolist() == [True]
    for combination in (nudge(0.5), gate([0, 1], 0.5), cascade("chow", 0.5)):
        assert torch.equal(law_of(combination, [q, p], Warp()), Warp()(q)), combination.name
    level = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64).log()  # as sure as q: the small model is kept
    assert torch.equal(law_of(cascade("opt", 0.0), [q, level], Warp()), Warp()(q))
    assert torch.equal(law_of(cascade("tokenv3", 0.5), [level, q], Warp()), Warp()(level))  # p(v) = .5 max p is trusted
    entropy = float(torch.special.entr(torch.softmax(q, -1)).sum())
    assert torch.equal(law_of(gate([0, 1], entropy, by="entropy"), [q, p], Warp()), Warp()(q))


def test_the_ends_of_the_parameters():
    """Where a parameter reaches an end, one member is left: its law exactly."""
    logits = members(2)
    first, second = (Warp()(member) for member in logits)
    replaced = torch.zeros_like(first).scatter_(-1, second.argmax(-1, keepdim=True), 1.0)
    ends: list[tuple[Combination, Tensor]] = [
        (cosd(0.0, 0.5), first),
        (cosd(1.5, 0.0), replaced),
        (cascade("chow", 1.0), first),
        (cascade("chow", 0.0), second),
        (cascade("tokenv3", 1.0), first),
        (nudge(0.0), first),
        (nudge(1.0), second),
        (gate([0, 1], 1.0), second),
        (gate([0, 1], 0.0), first),
        (gate([0, 1], 0.0, by="entropy"), second),
        (proxy(0.0), first),
        (realign(1.0), first),
        (realign(0.0), second),
        (guidance(1.0), first),
        (context_aware(0.0), first),
    ]
    for combination, wanted in ends:
        given = [*logits, logits[1]] if combination == proxy(0.0) else logits
        torch.testing.assert_close(law_of(combination, given, Warp()), wanted, atol=1e-12, rtol=0, msg=combination.name)
    opt = law_of(cascade("opt", 0.0), logits, Warp())
    surer = (first.amax(-1) >= second.amax(-1)).unsqueeze(-1)
    torch.testing.assert_close(opt, torch.where(surer, first, second), atol=1e-12, rtol=0)


def test_defaults_are_those_of_the_papers():
    """As the pages in docs/methods say."""
    assert cosd() == cosd(0.5, 0.5)
    assert cascade() == cascade("chow", 0.3)
    assert nudge() == nudge(0.3)
    assert gate([1, 1]) == gate([1, 1], 0.5, by="confidence")
    assert gate([1, 1], by="entropy") == gate([1, 1], 1.0, by="entropy")
    assert (proxy(), realign(), guidance()) == (proxy(1.0), realign(0.5), guidance(1.5))
    assert context_aware() == guidance(1.5) == context_aware(0.5)


@ALL_WARPS
@pytest.mark.parametrize("alpha", [0.1, 0.6])
def test_cascades_are_their_equations(warp: Warp, alpha: float):
    """Equations 2, 10 and 15, row by row; each keeps the small model sometimes and not always."""
    logits = members(2)
    kept = {"chow": 0, "opt": 0, "tokenv3": 0}
    plainly = Warp() if warp.greedy else warp
    found = {rule: law_of(cascade(rule, alpha), logits, warp) for rule in kept}
    for row in range(len(logits[0])):
        q, p = (torch.softmax(each[row], -1) for each in logits)
        small, large = (plainly(each[row]) for each in logits)
        chow = bool(q.max() >= 1 - alpha)
        opt = bool(q.max() >= p.max() - alpha * 0.5 * (q - p).abs().sum())
        trusted = (p >= (1 - alpha) * p.max()).double()
        laws = {"chow": small if chow else large, "opt": small if opt else large}
        laws["tokenv3"] = small * trusted + (small * (1 - trusted)).sum() * large
        for rule, law in laws.items():
            wanted = torch.eye(6, dtype=torch.float64)[law.argmax()] if warp.greedy else law
            torch.testing.assert_close(found[rule][row], wanted, atol=1e-12, rtol=0)
            kept[rule] += bool(torch.equal(law, small))
    assert all(0 < count < 200 for rule, count in kept.items() if rule != "tokenv3" and (rule, alpha) != ("chow", 0.1))


@ALL_WARPS
def test_gates_follow_the_base_where_it_is_sure(warp: Warp):
    """Nudging, and the gated mixture by confidence and by entropy."""
    logits = members(2)
    plainly = Warp() if warp.greedy else warp
    found = {
        "nudge": law_of(nudge(0.4), logits, warp),
        "confidence": law_of(gate([3, 1], 0.4), logits, warp),
        "entropy": law_of(gate([3, 1], 1.2, by="entropy"), logits, warp),
    }
    sure_rows = dict.fromkeys(found, 0)
    for row in range(len(logits[0])):
        base, other = (plainly(each[row]) for each in logits)
        plain = torch.softmax(logits[0][row], -1)
        sure = dict.fromkeys(found, bool(plain.max() >= 0.4))
        sure["entropy"] = float(-(plain * plain.log()).sum()) <= 1.2
        for name, law in found.items():
            fallback = other if name == "nudge" else 0.75 * base + 0.25 * other
            wanted = base if sure[name] else fallback
            wanted = torch.eye(6, dtype=torch.float64)[wanted.argmax()] if warp.greedy else wanted
            torch.testing.assert_close(law[row], wanted, atol=1e-12, rtol=0)
            sure_rows[name] += sure[name]
    assert all(20 < count < 180 for count in sure_rows.values()), sure_rows


@ALL_WARPS
def test_steering_is_arithmetic_on_logits(warp: Warp):
    """Shifting one model's logits by a constant changes nothing."""
    a, b, c = members(3)
    for combination, logits, wanted in (
        (proxy(0.7), [a, b, c], a + 0.7 * (b - c)),
        (realign(0.3), [a, b], 0.3 * a + 0.7 * b),
        (realign(1.5), [a, b], 1.5 * a - 0.5 * b),
        (guidance(1.8), [a, b], b.log_softmax(-1) + 1.8 * (a.log_softmax(-1) - b.log_softmax(-1))),
        (context_aware(0.5), [a, b], 1.5 * a - 0.5 * b),
    ):
        found = law_of(combination, logits, warp)
        torch.testing.assert_close(found, warp(wanted), atol=1e-12, rtol=0)
        shifted = law_of(combination, [logits[0] + 3, *logits[1:]], warp)
        torch.testing.assert_close(found, shifted, atol=1e-12, rtol=0)


TWO = [
    *(cosd(), cosd(0.3, 1.2), cascade("chow", 0.55), cascade("opt", 0.5), cascade("tokenv3", 0.4)),
    *(nudge(0.5), gate([2, 1], 0.5), gate([2, 1], 0.9, by="entropy"), realign(0.4), guidance(1.5)),
]
THREE = [cosd(0.5, 0.8), gate([1, 2, 1], 0.5), proxy(0.8)]


@pytest.mark.parametrize("combination", TWO, ids=lambda combination: combination.name)
def test_every_schedule_follows_the_law_of_two(combination: Combination):
    """By enumeration through the real loop."""
    assert_combination(combination)


@pytest.mark.long
@pytest.mark.parametrize("combination", THREE, ids=lambda combination: combination.name)
def test_every_schedule_follows_the_law_of_three(combination: Combination):
    assert_combination(combination, members=3)


def test_every_schedule_follows_a_tree(tree_file: str):
    assert_combination(cosd_tree(tree_file))


def lazy(tree: str) -> list[tuple[Combination, int]]:
    """Combinations that can do with fewer members, and for how many."""
    two = [cosd(), cosd(0.3, 1.2), cosd_tree(tree), cascade("chow", 0.5), nudge(0.4), weighted([0.8, 0.2])]
    three = [cosd(0.5, 0.8), gate([1, 2, 1], 0.5), weighted([3, 1, 1])]
    return [(each, 2) for each in two] + [(each, 3) for each in three]


@pytest.mark.parametrize("index", range(9))
def test_a_fixed_law_is_the_full_one_whoever_has_scored(index: int, tree_file: str):
    """Whatever the silent members will say: their logits are drawn anew, and include very sure ones."""
    combination, count = lazy(tree_file)[index]
    early = 0
    for warp, seed in itertools.product([*WARPS, Warp(0.3, top_k=1)], range(3)):
        logits = members(count, seed, spread=5.0)
        for size in range(1, count + 1):
            for who in itertools.combinations(range(count), size):
                known = fixed(combination, logits, who, warp)
                assert known.shape == (len(logits[0]),)
                assert bool(known.all()) if size == count else True
                early += int(known.sum()) if size < count else 0
                guessed = target_law(combination, heard_by(logits, who, warp), warp)
                for other in range(3):
                    said = [
                        member if index in who else fresh
                        for index, (member, fresh) in enumerate(
                            zip(logits, members(count, 100 + other, spread=40.0), strict=True)
                        )
                    ]
                    full = law_of(combination, said, warp)
                    torch.testing.assert_close(guessed[known], full[known], atol=1e-12, rtol=0)
    assert early > 0, "never lazy"


@pytest.mark.parametrize("index", [0, 1, 2, 6])
def test_a_certain_proposal_is_never_rejected(index: int, tree_file: str):
    """`r(x) >= s(x)` whatever the silent assistants say; and a draft above alpha is certain."""
    combination, count = lazy(tree_file)[index]
    assert isinstance(combination, Fusion)
    for warp in WARPS[:3]:
        logits = members(count)
        laws = warp(logits[0])
        x = torch.multinomial(laws, 1, generator=torch.Generator().manual_seed(3)).squeeze(-1)
        chances = laws.gather(-1, x.unsqueeze(-1)).squeeze(-1)
        stands = certain(combination, logits, (0,), warp, x, chances)
        assert 0 < int(stands.sum()) < len(x)
        for seed in range(3):
            full = law_of(combination, [logits[0], *members(count, 50 + seed, spread=40.0)[1:]], warp)
            here = full.gather(-1, x.unsqueeze(-1)).squeeze(-1) - chances
            assert float(here[stands].min()) > -1e-12
        plain = torch.softmax(logits[0], -1).gather(-1, x.unsqueeze(-1)).squeeze(-1)
        if combination == cosd():
            assert torch.equal(stands, plain >= 0.5)
        # A proposal that another member drew from a law of its own is certain only as far as the draft's mass goes
        eager = torch.full_like(chances, 1.001)
        assert not bool(certain(combination, logits, (0,), warp, x, eager).any())
        assert not bool(certain(combination, logits, (1,), warp, x, chances).any())


def test_logit_combinations_need_everybody():
    for combination in (realign(0.5), guidance(1.5), cascade("opt", 0.5), cascade("tokenv3", 0.5)):
        for warp in WARPS:
            assert combination.traits(warp).certainty is None
            assert combination.needed(2) == (0, 1)


def test_weighted_is_certain_only_by_more_than_the_missing_weight():
    """Two equal members never are; a leader of .8 is where its two best tokens are .25 or more apart."""
    logits, sure = [torch.tensor([[0.7, 0.3], [0.6, 0.4]]).log()] * 2, [torch.tensor([[1.0, 0.0]]).log()] * 2
    assert fixed(weighted([0.8, 0.2]), logits, (0,), Warp(0)).tolist() == [True, False]
    assert weighted([0.5, 0.5]).traits(Warp(0)).certainty is None
    assert fixed(weighted([0.49, 0.51]), sure, (0,), Warp(0)).tolist() == [False]
    assert fixed(weighted([0.8, 0.2]), logits, (0,), Warp(0.1)).tolist() == [False, False]


def test_a_tree_is_read_as_written(tree_file: str):
    """Thresholds go low at equality; features are those that are looked at."""
    tree = read_tree(tree_file)
    draft = torch.tensor([0.4, 0.41, 0.2, 0.9], dtype=torch.float64)
    assistant = torch.tensor([0.36, 0.9, 0.35, 0.9], dtype=torch.float64)
    assert tree(draft, assistant).tolist() == [True, False, False, False]
    assert tree.features() == {"p_draft", "p_assistant"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "tree file is not JSON"),
        ("[" * 100_000, "tree file is not JSON"),
        (json.dumps({"format": FORMAT, "tree": {**TREE, "threshold": 10**400}}), "neither a leaf nor a comparison"),
        ('{"weights": [1]}', "not a tree of unisono"),
        (json.dumps({"format": FORMAT, "tree": {"replace": True}}), "decides nothing"),
        (json.dumps({"format": FORMAT, "tree": {**TREE, "feature": "depth"}}), "neither a leaf nor a comparison"),
        (json.dumps({"format": FORMAT, "tree": {**TREE, "low": None}}), "neither a leaf nor a comparison"),
        (json.dumps({"format": FORMAT, "tree": {**TREE, "threshold": "x"}}), "neither a leaf nor a comparison"),
    ],
)
def test_a_foreign_tree_file_is_refused_in_one_line(tmp_path: Path, content: str, message: str):
    path = tmp_path / "foreign.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as error:
        cosd_tree(str(path))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("combination", [cosd(), cosd(0.9, 0.3)], ids=lambda combination: combination.name)
def test_greedy_text_does_not_depend_on_the_draft_length(combination: Combination):
    """Neither on who proposes; and it is the three-line loop on the law, token for token."""
    members = [HistoryMember.random(7, seed) for seed in (1, 2)]
    tokens = [0]
    for _ in range(40):
        logits = [member.law(tokens).log().unsqueeze(0) for member in members]
        tokens.append(int(law_of(combination, logits, Warp(0)).argmax()))
    replaced = 0
    for schedule in (standard(), *(speculative(length) for length in (1, 2, 4, 7)), cos(1, 1), cos(3, 2)):
        run = observed(members, schedule, KeyedNoise(0, 0), 40, combination, Warp(0))
        assert [0, *run.tokens] == tokens
        replaced += sum(commit.origin == "redrawn" for commit in run.commits)
    assert replaced > 10
