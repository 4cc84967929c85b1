"""Verification: what is committed follows the target law, for every pair of laws."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from tests.core.helpers import Script
from tests.strategies import law_pairs, laws
from unisono import methods, transfer
from unisono.decoding import verification as verify
from unisono.decoding.blocks import Block, excess
from unisono.errors import ConfigurationError
from unisono.sampling.noise import KeyedNoise, Noise, Purpose
from unisono.sampling.sampler import Names
from unisono.testing import EnumeratingNoise

Pair = tuple[Tensor, Tensor]


def law(*masses: float) -> Tensor:
    return torch.tensor(masses, dtype=torch.float64)


def residual(r: Tensor, s: Tensor) -> Tensor:
    """The law of the token that replaces a rejected proposal from s."""
    return verify.residual(excess(r, s), r)


def committed_law(r: Tensor, s: Tensor) -> Tensor:
    """`s a + (1 - sum s a) residual`: the law of the token that replaces or is a proposal from s."""
    support = s > 0
    accepted = torch.zeros_like(s)
    accepted[support] = verify.acceptance(r[support], s[support])
    return s * accepted + (1 - (s * accepted).sum()) * residual(r, s)


@given(law_pairs())
@example((law(0.5, 0.5), law(0.5, 0.5)))
@example((law(1, 0), law(0, 1)))
@example((law(0, 1, 0), law(0.2, 0.3, 0.5)))
@example((law(0.2, 0.3, 0.5), law(0, 1, 0)))
@example((law(0.1, 0.2, 0.7), law(0.1 + 1e-17, 0.2, 0.7 - 1e-16)))
def test_accepted_and_redrawn_mass_add_up_to_the_target(pair: Pair):
    """`s a + (1 - sum s a) residual == r` elementwise, with zeros, for equal, one-hot and disjoint laws."""
    r, s = pair
    assert (committed_law(r, s) - r).abs().max() < 1e-12


@given(law_pairs())
def test_acceptance_is_one_minus_total_variation(pair: Pair):
    """A proposal from s is accepted with probability `1 - TV(r, s)`: no valid rule accepts more."""
    r, s = pair
    support = s > 0
    rate = (s[support] * verify.acceptance(r[support], s[support])).sum()
    assert abs(rate - (1 - (r - s).abs().sum() / 2)) < 1e-12


@given(law_pairs())
def test_residual_is_a_law_within_the_target(pair: Pair):
    """The residual is a law, even where r equals s, and has no mass where the target has none."""
    r, s = pair
    rest = residual(r, s)
    assert bool((rest >= 0).all())
    assert abs(rest.sum() - 1) < 1e-12
    assert bool((rest[r == 0] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_residual_falls_back_to_the_target(dtype: torch.dtype):
    """Where `(r - s)+` is zero in floating point, the residual is r itself, row by row, never nan."""
    r = torch.tensor([[0.25, 0.75, 0], [0.5, 0.5, 0]], dtype=dtype)
    s = torch.tensor([[0.25, 0.75, 0], [0.1, 0.6, 0.3]], dtype=dtype)
    assert torch.equal(residual(r, s), torch.tensor([[0.25, 0.75, 0], [1, 0, 0]], dtype=dtype))


def test_functions_are_batched_over_positions():
    """Acceptance and residual of a block are those of its positions one by one."""
    generator = torch.Generator().manual_seed(1)
    r, s = (torch.softmax(torch.randn(6, 5, generator=generator), -1) for _ in range(2))
    x = torch.tensor([[0], [1], [2], [3], [4], [0]])
    chances = verify.acceptance(r.gather(-1, x)[:, 0], s.gather(-1, x)[:, 0])
    singles = [verify.acceptance(r[k, x[k]], s[k, x[k]]) for k in range(6)]
    assert torch.equal(chances, torch.cat(singles))
    assert torch.equal(residual(r, s), torch.stack([residual(r[k], s[k]) for k in range(6)]))


R = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2], [0.3, 0.3, 0.4]], dtype=torch.float64)
S = torch.tensor([[0.2, 0.6, 0.2], [0.4, 0.4, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)


def decide(
    noise: Noise, targets: Tensor, laws: Tensor, tokens: list[int], position: int, round: int
) -> tuple[int, int]:
    """Accepted proposals and the token behind them, of one block."""
    names = Names(noise, position, round, len(tokens))
    decisions = verify.decide_tokens(targets, [Block(names, tokens, list(laws), free=len(targets) > len(tokens))])
    return int(decisions.accepted), int(decisions.tokens)


def test_all_accepted_commits_no_other_token():
    """With a proposal at every known position and all accepted, nothing is drawn."""
    noise = Script()
    assert decide(noise, R[:3], S[:3], [1, 0, 2], 5, 2)[0] == 3
    ((probabilities, position, round),) = noise.tossed
    assert torch.allclose(probabilities, law(0.5, 0.25, 1))
    assert (position, round, noise.drawn) == (5, 2, [])


def test_all_accepted_and_the_law_behind_is_known():
    """The token behind the last proposal is drawn from its target law under its TARGET name, in round 0."""
    noise = Script(draws=[2])
    assert decide(noise, R, S[:3], [1, 0, 2], 5, 2) == (3, 2)
    ((drawn_from, *name),) = noise.drawn
    assert torch.equal(drawn_from, R[3])
    assert name == [Purpose.TARGET, 8, 0]


@pytest.mark.parametrize("accepted", [0, 1, 2])
@pytest.mark.parametrize("known", [3, 4])
def test_first_rejected_proposal_is_redrawn_from_its_residual(accepted: int, known: int):
    """What replaces the first rejected proposal comes from the residual at its own position, under its own name."""
    noise = Script(draws=[0], leading=accepted)
    assert decide(noise, R[:known], S[:3], [1, 0, 1], 5, 2) == (accepted, 0)
    ((drawn_from, *name),) = noise.drawn
    rest = (R[accepted] - S[accepted]).clamp(min=0)
    assert torch.allclose(drawn_from, rest / rest.sum())
    assert name == [Purpose.RESIDUAL, 5 + accepted, 2]


def test_nothing_proposed_draws_from_the_target():
    """Without proposals the token is drawn from the target law, and nothing is tossed."""
    noise = Script(draws=[1])
    assert decide(noise, R[:1], R[:0], [], 7, 3) == (0, 1)
    ((drawn_from, *name),) = noise.drawn
    assert torch.equal(drawn_from, R[0])
    assert (name, noise.tossed) == ([Purpose.TARGET, 7, 0], [])


def one_by_one(targets: Tensor, laws: Tensor, tokens: list[int], noise: KeyedNoise, position: int, round: int) -> tuple:
    """The reference: a row alone, one choice after the other."""
    proposed = len(tokens)
    chances = [min(1.0, float(targets[k, x] / laws[k, x])) for k, x in enumerate(tokens)]
    accepted = noise.leading(torch.tensor(chances, dtype=torch.float64), position, round)
    if accepted < proposed:
        law = residual(targets[accepted], laws[accepted])
        return accepted, noise.draw(law, Purpose.RESIDUAL, position + accepted, round)
    free = len(targets) > proposed
    return accepted, noise.draw(targets[-1], Purpose.TARGET, position + proposed, 0) if free else None


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2**20)), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 3),
)
def test_many_rows_are_decided_as_each_alone(shapes: list[tuple[int, bool, int]], equal: bool, given: int):
    """Blocks of any lengths, with and without a free position: decided together as one by one, by the same numbers.

    A proposal that is treated as given is decided like one from a one-hot law: none of them, all, or some.
    """
    blocks, targets, wanted = [], [], []
    for row, (proposed, free, seed) in enumerate(shapes):
        proposed = shapes[0][0] if equal else proposed
        free = free or not proposed
        generator = torch.Generator().manual_seed(seed)
        r, s = (torch.softmax(2 * torch.randn(proposed + 1, 5, generator=generator), -1).double() for _ in range(2))
        tokens = torch.multinomial(s, 1, generator=generator)[:proposed, 0].tolist()
        laws: list[Tensor | None] = list(s[:proposed])
        for k in [k for k in range(proposed) if given and (row + k) % given == 0]:
            s[k], laws[k] = torch.eye(5)[tokens[k]], None
        wanted.append(one_by_one(r[: proposed + free], s, tokens, KeyedNoise(seed, row), 7, 2))
        names = Names(KeyedNoise(seed, row), 7, 2, proposed)
        # as drafted on a device: some tokens are tensors
        mixed = [torch.tensor(token) if k % 2 else token for k, token in enumerate(tokens)]
        blocks.append(Block(names, mixed, laws, bool(free)))
        targets.append(r[: proposed + free])
    found = verify.decide_tokens(torch.cat(targets), blocks)
    for block, accepted, token, (count, follows) in zip(blocks, found.accepted, found.tokens, wanted, strict=True):
        assert accepted == count
        assert follows is None or token == follows, block


@given(st.integers(1, 3).flatmap(lambda size: st.tuples(*[laws(3)] * (2 * size + 1))))
def test_tokens_of_a_block_follow_their_targets(drawn: tuple[Tensor, ...]):
    """Proposals from their laws, then a decision: the committed tokens have the joint law of the targets."""
    half = len(drawn) // 2
    s, r = torch.stack(drawn[:half]), torch.stack(drawn[half:])

    def run(noise):
        proposals = [noise.draw(s[k], Purpose.PROPOSE, k, 0) for k in range(half)]
        accepted, token = decide(noise, r, s, proposals, 0, 0)  # the law behind the last proposal is known
        return (*proposals[:accepted], token)

    prefixes: dict[tuple[int, ...], float] = {}
    for tokens, probability in EnumeratingNoise(run):
        for end in range(1, len(tokens) + 1):
            prefixes[tokens[:end]] = prefixes.get(tokens[:end], 0.0) + probability
    reached = {(): 1.0} | prefixes
    ended = dict.fromkeys(reached, 0.0)
    for tokens, probability in EnumeratingNoise(run):
        ended[tokens] += probability
    for tokens, probability in prefixes.items():
        # given that the block got that far, the next token follows its target
        continued = reached[tokens[:-1]] - ended[tokens[:-1]]
        assert abs(probability - continued * float(r[len(tokens) - 1, tokens[-1]])) < 1e-12


def test_auto_goes_by_the_request():
    """`coupled` where a seed must give one text; `token` at temperature 0, where all verifications give one."""
    assert methods.automatic_verification(greedy=False, reproducible=True).name == "coupled"
    assert methods.automatic_verification(greedy=True, reproducible=True).name == "token"
    assert methods.automatic_verification(greedy=False, reproducible=False).name in verify.VERIFICATIONS
    for name, rule in verify.VERIFICATIONS.items():
        assert methods.usable_verification(rule, certain=False).name == name
        assert methods.usable_verification(rule, certain=True).name == ("token" if name == "block" else name)


def test_names_of_verifications():
    """`auto` and every listed name are understood; any other is refused with the nearest one."""
    assert methods.as_verification("auto") is None
    for name in verify.VERIFICATIONS:
        assert methods.as_verification(name) is verify.VERIFICATIONS[name]
    with pytest.raises(ConfigurationError, match=r"unknown verification: 'tokn'; did you mean 'token'\?"):
        methods.as_verification("tokn")


@pytest.mark.parametrize("rule", verify.VERIFICATIONS.values(), ids=list(verify.VERIFICATIONS))
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2**20)), min_size=1, max_size=5))
def test_decisions_on_the_host_are_those_on_a_device(rule: verify.Verification, shapes: list[tuple[int, bool, int]]):
    """The host computes only the laws that it draws from; a device computes all, so that nobody waits for it."""

    def decided(waits: bool) -> list[tuple[int, int | None]]:
        made, targets = [], []
        for row, (proposed, free, seed) in enumerate(shapes):
            generator = torch.Generator().manual_seed(seed)
            r, s = (torch.softmax(2 * torch.randn(proposed + 1, 5, generator=generator), -1) for _ in range(2))
            tokens = torch.multinomial(s, 1, generator=generator)[:proposed, 0].tolist()
            laws = [None if (seed + place) % 3 == 0 else s[place] for place in range(proposed)]
            known = proposed + (free or not proposed)
            made.append(Block(Names(KeyedNoise(seed, row), 7, 2, proposed), tokens, laws, known > proposed))
            targets.append(r[:known])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transfer, "on_host", lambda tensor: not waits)
            found = rule.decide(torch.cat(targets), made)
        pairs = zip(made, found.accepted.tolist(), found.tokens.tolist(), strict=True)
        return [(accepted, token if accepted < block.known else None) for block, accepted, token in pairs]

    assert decided(waits=False) == decided(waits=True)
