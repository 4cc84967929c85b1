"""Logits -> law -> token: edits, the warp, keyed random numbers."""
