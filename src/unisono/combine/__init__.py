"""Combinations: from the members' scores at a position to the target law there.

`weighted`, `drawn`, `product`, `contrastive`, `contrastive_masked`, `proxy`, `realign`, `guidance`, `context_aware`,
`cosd`, `cosd_tree`, `cascade`, `nudge`, `gate`, `only`, or a function or subclass of `Combination` that a user writes.
`docs/methods/` has a page for each.
"""

from unisono.combine.base import Combination
from unisono.combine.cascade import cascade
from unisono.combine.cosd import cosd, cosd_tree
from unisono.combine.gates import gate, nudge
from unisono.combine.logits import contrastive, contrastive_masked, product
from unisono.combine.mixtures import drawn, weighted
from unisono.combine.parse import as_combination, parse
from unisono.combine.positions import Positions
from unisono.combine.selection import custom, only
from unisono.combine.steering import context_aware, guidance, proxy, realign

__all__ = [
    "Combination",
    "Positions",
    "as_combination",
    "cascade",
    "context_aware",
    "contrastive",
    "contrastive_masked",
    "cosd",
    "cosd_tree",
    "custom",
    "drawn",
    "gate",
    "guidance",
    "nudge",
    "only",
    "parse",
    "product",
    "proxy",
    "realign",
    "weighted",
]
