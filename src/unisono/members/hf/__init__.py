"""Members of transformers."""
