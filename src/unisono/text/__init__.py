"""What is read and written: prompts, the output of a request, coloured tokens."""
