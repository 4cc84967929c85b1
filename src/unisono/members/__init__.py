"""Members: language models that return logits and can roll back their KV caches."""
