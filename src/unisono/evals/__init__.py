"""Measuring quality: skills with exact answers, bits per byte, harness tasks; members and fused side by side."""
