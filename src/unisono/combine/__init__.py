"""Combinations. A combination computes the target law of a position from the members' scores at this position.

The combinations are `weighted`, `drawn`, `product`, `contrastive`, `contrastive_masked`, `proxy`, `realign`,
`guidance`, `context_aware`, `cosd`, `cosd_tree`, `cascade`, `nudge`, `gate` and `only`. `docs/methods/` has a page for
each of them. A user-defined function or a user-defined subclass of `Combination` is a combination too.
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
