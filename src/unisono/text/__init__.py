"""Encode prompts as token ids, turn output tokens into text, and print tokens in colour."""
