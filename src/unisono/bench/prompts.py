"""Python beginnings to decode from; written for this project, not taken from any data set."""

PYTHON = (
    'def read_csv(path):\n    """Read a CSV file and return its rows as dictionaries."""\n',
    "class LinkedList:\n    def __init__(self):\n        self.head = None\n\n    def append(self, value):\n",
    "import argparse\nimport sys\n\n\ndef main():\n    parser = argparse.ArgumentParser(description=",
    'def normalize(values):\n    """Scale a sequence of numbers so that they sum to one."""\n    total =',
    "class Matrix:\n    def __mul__(self, other):\n        if not isinstance(other, Matrix):\n",
    "def test_parser_raises_on_empty_input():\n    with pytest.raises(ValueError):\n",
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    if n < 2:\n',
    "try:\n    import json\nexcept ImportError:\n",
)
