"""The decode loop: rows, proposals, policies, schedules, target distributions ("laws") and verification."""

from unisono.decoding.policy import Policy, RowRequest, Schedule, Turn, View
from unisono.decoding.schedules import cos, lookup, parallel, relay, risky, speculative, standard

__all__ = [
    "Policy",
    "RowRequest",
    "Schedule",
    "Turn",
    "View",
    "cos",
    "lookup",
    "parallel",
    "relay",
    "risky",
    "speculative",
    "standard",
]
