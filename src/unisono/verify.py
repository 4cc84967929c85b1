"""Accept or redraw: proposals against their target laws.

Pure functions of tensors; the choices come in through a `Noise`. Letters as in the papers: `r` the target law, `s` the
law a proposal was drawn from, `x` the proposal.

A verification is a function `(targets, laws, tokens, noise, position, round) -> Decision`. `token` decides each proposal
by itself; verifications that look at a whole block have the same shape and join `VERIFICATIONS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.errors import unknown
from unisono.rng import Noise, Purpose


@dataclass(frozen=True)
class Decision:
    """The first `accepted` proposals stand; `token`, if any, follows them and makes all later proposals void.

    `redrawn` tells a token that replaces a rejected proposal from one drawn where nothing was proposed.
    """

    accepted: int
    token: int | None = None
    redrawn: bool = False


Verification = Callable[[Tensor, Tensor, Sequence[int], Noise, int, int], Decision]


def acceptance(r: Tensor, s: Tensor, x: Tensor) -> Tensor:
    """Probability of accepting each proposal: min(1, r(x) / s(x)) (Leviathan et al. 2023, algorithm 1).

    Args:
        r, s: laws [K, V]. x: proposals [K], each with s(x) > 0.
    """
    x = x.unsqueeze(-1)
    return (r.gather(-1, x) / s.gather(-1, x)).squeeze(-1).clamp(max=1)


def residual(r: Tensor, s: Tensor) -> Tensor:
    """Law of the token that replaces a rejected one: norm((r - s)+), or r where that is zero in floating point."""
    rest = (r - s).clamp(min=0)
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > 0, rest / mass, r)


def token(targets: Tensor, laws: Tensor, tokens: Sequence[int], noise: Noise, position: int, round: int) -> Decision:
    """Token-by-token rejection sampling.

    `acceptance * s + (1 - total acceptance) * residual = r`, so the token committed at each position follows its target.

    Args:
        targets: target laws [K, V] of the first K positions that are open.
        laws: laws [P, V] of the proposals at the first P of them; P is K, or K - 1 where the last is free to be drawn.
        tokens: the P proposals.
        position: index of the first open position. round: how often this row has settled before.
    """
    proposed = len(tokens)
    accepted = 0
    if proposed:
        x = torch.as_tensor(tokens, device=targets.device)
        accepted = noise.leading(acceptance(targets[:proposed], laws, x), position, round)
    if accepted < proposed:
        law = residual(targets[accepted], laws[accepted])
        return Decision(accepted, noise.draw(law, Purpose.RESIDUAL, position + accepted, round), redrawn=True)
    if len(targets) > proposed:
        return Decision(accepted, noise.draw(targets[proposed], Purpose.TARGET, position + proposed, 0))
    return Decision(accepted)


VERIFICATIONS: dict[str, Verification] = {"token": token}


def parse(name: str) -> str:
    """The verification of that name; "auto" is the best one there is.

    Raises:
        ConfigurationError: there is no such verification.
    """
    if name == "auto":
        return "token"
    if name not in VERIFICATIONS:
        raise unknown("verification", name, ["auto", *VERIFICATIONS])
    return name
