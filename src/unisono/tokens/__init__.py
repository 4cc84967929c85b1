"""Token ids: the common vocabulary, and the text of tokens."""
