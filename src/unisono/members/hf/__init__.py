"""The backend that loads models with transformers."""
