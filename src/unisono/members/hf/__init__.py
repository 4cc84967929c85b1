"""The backend for models of transformers."""
