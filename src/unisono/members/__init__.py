"""Language models that return logits and whose KV caches can be rolled back."""
