"""Prompts, the text of an answer, and tokens in colour."""
