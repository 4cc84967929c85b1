"""Measure the quality of members and fused methods: exact answers, bits per byte, tasks of lm-evaluation-harness."""
