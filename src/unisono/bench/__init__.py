"""Measure and predict the decoding speed of schedules and verifications."""
