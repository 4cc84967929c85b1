"""The decode loop: rows, their open proposals, schedules, laws and verification."""

from unisono.decoding.schedules import Schedule, Turn, View, cos, lookup, parallel, relay, risky, speculative, standard

__all__ = ["Schedule", "Turn", "View", "cos", "lookup", "parallel", "relay", "risky", "speculative", "standard"]
