"""The common vocabulary of the members, and the text and bytes of tokens."""
