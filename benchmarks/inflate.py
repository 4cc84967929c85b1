"""Moved to `unisono.bench.inflate`, since the presets of `unisono bench` need it."""

from unisono.bench.inflate import inflate

__all__ = ["inflate"]
