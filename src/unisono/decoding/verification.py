"""Verification: accept or reject the proposals of many rows, given their target laws.

The functions here are pure functions of tensors and of each row's `Noise`. The letters are those of the papers: `r` is
the target law, `s` is the law that a proposal was drawn from, `x` is the proposal.

The undecided positions of one row form a `Block`. A verification decides any number of blocks without waiting for the
device. The module `settling` fetches all decisions from the device together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unisono import transfer
from unisono.decoding.blocks import Block, Decisions, Drafts, free_positions, padded_tokens
from unisono.sampling.noise import Purpose
from unisono.sampling.sampler import Names, draw, last, leading, redraw
from unisono.transfer import token_tensor


@dataclass(frozen=True)
class Verification:
    """A named rule that accepts or rejects proposals.

    decide: a function that takes the concatenated targets [N, V] of all blocks and the list of blocks. proposing: the
    purpose of the noise that draws proposals. tokenwise: whether every proposal with r(x) >= s(x) is accepted.
    """

    name: str
    decide: Callable[[Tensor, Sequence[Block]], Decisions]
    proposing: Purpose = Purpose.PROPOSE
    tokenwise: bool = False


def acceptance(r: Tensor, s: Tensor | float) -> Tensor:
    """Return the probability of accepting each proposal: min(1, r(x) / s(x)) (Leviathan et al. 2023, algorithm 1).

    Args:
        r, s: r(x) and s(x) of each proposal, [K]; s(x) > 0.
    """
    return (r / s).clamp(max=1)


def residual(rest: Tensor, r: Tensor) -> Tensor:
    """Return the law of the token after a rejection: (r - s)+ divided by its sum, or r if the sum is 0.

    Args:
        rest: the excess (r - s)+; the shape of `rest` and `r` is [..., V].
    """
    mass = rest.sum(-1, keepdim=True)
    if transfer.on_host(mass) and bool((mass > 0).all()):
        return rest / mass
    return torch.where(mass > 0, rest / mass, r)


def decide_tokens(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Decide each block by token-by-token rejection sampling (Leviathan et al. 2023).

    Each committed token follows its target law, because `acceptance * s + (1 - total acceptance) * residual = r`. At a
    free position, the token is drawn from `r`.
    """
    names = [block.names for block in blocks]
    if not any(block.tokens for block in blocks):
        tokens = draw(targets, Purpose.TARGET, names)
        return Decisions(torch.zeros_like(tokens), tokens)
    drafts = Drafts(targets, blocks)
    sizes = [block.known for block in blocks]
    chances = acceptance(targets.gather(-1, drafts.tokens.unsqueeze(-1))[:, 0], drafts.chances())
    if drafts.free is not None:
        chances = chances.masked_fill(drafts.free, 0)
    accepted = leading(_padded(chances, sizes), names)
    if transfer.on_host(targets):
        return Decisions(accepted, _following(targets, drafts, blocks, accepted))
    ends = _ends(accepted, sizes)
    at = targets[ends]
    rest = drafts.behind(residual(drafts.left(at, ends), at), at, ends)
    return Decisions(accepted, redraw(rest, accepted, names, [block.free for block in blocks]))


def decide_blocks(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Decide each block by block verification (Sun et al. 2025, arXiv 2403.10444).

    The first i proposals have the weight `w[i] = min(1, w[i-1] r(x[i]) / s(x[i]))`. One random number per i decides
    whether i is a candidate. The number of accepted proposals is the largest candidate. The next token is drawn from
    `(w r - s)+` divided by its sum. No other exact rule accepts more tokens of a single draft in expectation.
    """
    names = [block.names for block in blocks]
    if not any(block.tokens for block in blocks):
        tokens = draw(targets, Purpose.TARGET, names)
        return Decisions(torch.zeros_like(tokens), tokens)
    drafts = Drafts(targets, blocks)
    sizes = [block.known for block in blocks]
    worth = _worth(targets, drafts, blocks)
    rows, places = _places(sizes, targets)
    accepted = last(_standing(targets, drafts, worth, rows, places, free_positions(blocks, targets))[:, 1:], names)
    weights = worth.gather(-1, accepted.unsqueeze(-1)).to(targets.dtype)
    if transfer.on_host(targets):
        return Decisions(accepted, _following(targets, drafts, blocks, accepted, weights))
    ends = _ends(accepted, sizes)
    at = weights * targets[ends]
    rest = drafts.behind(residual(drafts.left(at, ends), at), targets[ends], ends)
    return Decisions(accepted, redraw(rest, accepted, names, [block.free for block in blocks]))


def _following(
    targets: Tensor, drafts: Drafts, blocks: Sequence[Block], accepted: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return the token after the accepted proposals of each block: [B]. Compute only the laws that are drawn from.

    All tensors are on the host. weights: the weight of the accepted proposals of each block, [B, 1]; 1 if None.
    """
    tokens, ends = torch.zeros_like(accepted), _ends(accepted, [block.known for block in blocks])
    rejected, behind = [], []
    for row, count in enumerate(accepted.tolist()):
        if count < len(blocks[row].tokens):
            rejected.append(row)
        elif blocks[row].free:
            behind.append(row)
    if rejected:
        at = ends[rejected]
        target = _rows(targets, at)
        weighted = target if weights is None else weights[rejected] * target
        rest = residual(drafts.left(weighted, at), weighted)
        names = [blocks[row].names for row in rejected]
        no_free = [False] * len(rejected)
        tokens[rejected] = redraw(rest, accepted[rejected], names, no_free)
    if behind:
        laws = _rows(targets, ends[behind])
        names = [_behind(blocks[row].names) for row in behind]
        tokens[behind] = draw(laws, Purpose.TARGET, names)
    return tokens


def _behind(names: Names) -> Names:
    """Return the keys of the position behind the proposals."""
    position = names.position + names.count
    return replace(names, position=position, count=1)


def _rows(tensor: Tensor, places: Tensor) -> Tensor:
    """Return the rows at the places, without a copy if there is only one."""
    return tensor.narrow(0, int(places[0]), 1) if len(places) == 1 else tensor[places]


def _worth(targets: Tensor, drafts: Drafts, blocks: Sequence[Block]) -> Tensor:
    """Return a float64 tensor [B, K + 1]. Entry i of a row is the weight of the first i proposals of one block."""
    ratios = targets.gather(-1, drafts.tokens.unsqueeze(-1))[:, 0].double() / drafts.chances()
    ratios = ratios.nan_to_num(0).masked_fill(free_positions(blocks, targets), 0)
    most = max(len(block.tokens) for block in blocks)
    logs = _padded(ratios, [block.known for block in blocks])[:, :most].log().cumsum(-1)
    logs = torch.cat([torch.zeros_like(logs[:, :1]), logs], -1)
    # The products are limited to 1 after each factor
    return (logs - logs.cummax(-1).values).exp()


def _standing(targets: Tensor, drafts: Drafts, worth: Tensor, rows: Tensor, places: Tensor, free: Tensor) -> Tensor:
    """Return a float64 tensor [B, K + 1]. Entry i of a row is a conditional probability for one block.

    It is the probability that exactly i proposals are accepted, given that at most i proposals are accepted.
    """
    weights = worth[rows, places]
    at = torch.arange(len(targets), device=targets.device)
    if transfer.on_host(targets):  # the sums of other positions are not read
        at = at[weights < 1]
    left = torch.zeros_like(weights)
    if len(at):
        weighted = weights[at].to(targets.dtype).unsqueeze(-1) * _rows(targets, at)
        left[at] = drafts.left(weighted, at).sum(-1).double()
    chances = torch.where(weights < 1, left / (left + 1 - weights), 1)
    # The chance is the weight at a free position, and if no token is possible. In the second case the row later fails
    chances = torch.where(free | targets[:, 0].isnan(), weights, chances)
    return worth.index_put((rows, places), chances)


def _places(sizes: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    each = [(row, place) for row, size in enumerate(sizes) for place in range(size)]
    rows, places = zip(*each, strict=True)
    return torch.tensor(rows, device=like.device), torch.tensor(places, device=like.device)


def decide_coupled(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Decide each block by coupling: draw a token from each target law, and accept the proposals that equal it.

    The draw uses noise that depends only on the position. So the text does not depend on the proposals. Proposals are
    drawn with the same noise, so a proposal from a law close to the target law is usually equal to the target's token.
    """
    sizes = [block.known for block in blocks]
    if transfer.on_host(targets):
        return _coupled_in_order(targets, blocks)
    winners = draw(targets, Purpose.TARGET, [name for block in blocks for name in _each_position(block)])
    stands = winners == token_tensor(padded_tokens(blocks), targets.device)
    stands &= ~(targets[:, 0].isnan() | free_positions(blocks, targets))
    accepted = _padded(stands.long(), sizes).cumprod(-1).sum(-1)
    return Decisions(accepted, winners[_ends(accepted, sizes)])


def _coupled_in_order(targets: Tensor, blocks: Sequence[Block]) -> Decisions:
    """Return the decisions of `decide_coupled` on the host. No token is drawn after the first rejected proposal."""
    accepted, tokens, start = [], [], 0
    for block in blocks:
        count = token = 0
        laws = torch.split(targets[start : start + block.known], 1)
        for name, law in zip(_each_position(block), laws, strict=True):
            token = int(draw(law, Purpose.TARGET, [name]))
            if count == len(block.tokens):
                break
            if token != int(block.tokens[count]) or bool(law[0, 0].isnan()):
                break
            count += 1
        accepted.append(count)
        tokens.append(token)
        start += block.known
    return Decisions(torch.tensor(accepted), torch.tensor(tokens))


def _each_position(block: Block) -> list[Names]:
    first = block.names
    positions = range(first.position, first.position + block.known)
    return [replace(first, position=position, count=1) for position in positions]


def _ends(accepted: Tensor, sizes: Sequence[int]) -> Tensor:
    lengths = torch.tensor(sizes, device=accepted.device)
    return lengths.cumsum(0) - lengths + torch.minimum(accepted, lengths - 1)


def _padded(values: Tensor, sizes: list[int]) -> Tensor:
    if len(set(sizes)) == 1:
        return values.view(len(sizes), -1)
    return pad_sequence(list(torch.split(values, sizes)), batch_first=True)


VERIFICATIONS = {
    each.name: each
    for each in (
        Verification("token", decide_tokens, tokenwise=True),
        Verification("block", decide_blocks),
        Verification("coupled", decide_coupled, Purpose.TARGET),
    )
}
