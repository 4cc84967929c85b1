"""Members: language models that score tokens and can be rolled back."""
