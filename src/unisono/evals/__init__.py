"""Measure the quality of members and combinations: exact answers, bits per byte, tasks of lm-evaluation-harness."""
