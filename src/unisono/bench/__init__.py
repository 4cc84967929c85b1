"""Measuring decoding speed: side by side, interleaved, with provenance."""
