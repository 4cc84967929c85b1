"""Combinations: what the members say at a position -> the law the output follows.

`weighted`, `product`, `contrastive`, `contrastive_masked`, `only`, or any function of your own.
"""

from unisono.combine.base import Combination
from unisono.combine.logits import contrastive, contrastive_masked, product
from unisono.combine.mixtures import weighted
from unisono.combine.parse import as_combination, parse
from unisono.combine.selection import custom, only

__all__ = [
    "Combination",
    "as_combination",
    "contrastive",
    "contrastive_masked",
    "custom",
    "only",
    "parse",
    "product",
    "weighted",
]
