"""Measure the quality of members and combinations with exact answers, bits per byte, and tasks of
lm-evaluation-harness.
"""
