"""The policy of `auto`: what is measured, how often proposals stand, and which schedule follows from it."""
