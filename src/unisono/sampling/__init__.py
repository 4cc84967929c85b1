"""Sampling of tokens from logits: edits of logits, the warp to probabilities ("laws"), and keyed random numbers."""
