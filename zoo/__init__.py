"""Scripts that make the bundled models: corpus, tokenizer, training, measurement, cards.

The library does not import these scripts; the finished weights are in `src/unisono/zoo/weights`.
Run the steps from the repository root: `python -m zoo.corpus`, `zoo.tokens`, `zoo.train`, `zoo.measure`, `zoo.card`.
"""
