"""Exact laws and a conformance suite, for this project's tests and for those of your own combinations and schedules.

`exact_law` runs the real decode loop once for every sequence of random choices and adds up the probabilities;
`brute_force` computes the same law from its definition. If both agree to rounding, the schedule and the verification are
exact. No sampling is involved, and no tolerance for noise.

    members = [TableMember.random(3, seed=1), TableMember.random(3, seed=2)]
    assert largest_error(members, combine.weighted([0.7, 0.3]), cos(2, 1), tokens=3) < 1e-12
    assert_schedule(my_schedule, members=2)
    assert_combination(my_combination, members=2)

Combinations and schedules are objects, names or functions, as for `Ensemble.load`.
"""

from unisono.decoding.verification import VERIFICATIONS
from unisono.members.table import TableMember
from unisono.sampling.logits_edits import Edits
from unisono.sampling.warp import Warp
from unisono.testing.assertions import assert_combination, assert_law, assert_schedule, unequal_members
from unisono.testing.enumeration import EnumeratingNoise, Race, Tokens
from unisono.testing.laws import PROMPT, ExactMember, brute_force, contexts, decode, exact_law, largest_error, rounds

__all__ = [
    "PROMPT",
    "VERIFICATIONS",
    "Edits",
    "EnumeratingNoise",
    "ExactMember",
    "Race",
    "TableMember",
    "Tokens",
    "Warp",
    "assert_combination",
    "assert_law",
    "assert_schedule",
    "brute_force",
    "contexts",
    "decode",
    "exact_law",
    "largest_error",
    "rounds",
    "unequal_members",
]
