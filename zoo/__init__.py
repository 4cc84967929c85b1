"""How the bundled models are made: corpus -> tokenizer -> training -> cards.

Nothing here is needed at run time; the finished weights live in `src/unisono/zoo/weights`.
Run the steps from the repository root: `python -m zoo.corpus`, `zoo.tokens`, `zoo.train`, `zoo.card`.
"""
