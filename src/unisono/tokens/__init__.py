"""What a token id is: the common vocabulary, and the text of tokens."""
