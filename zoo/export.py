"""Export the last checkpoint of a training run, finished or not: `python -m zoo.export code-m [run]`."""

import argparse

import torch

from zoo.models import SHAPES, WEIGHTS, export
from zoo.train import RUNS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(SHAPES))
    parser.add_argument("run", nargs="?", help="folder below zoo/runs")
    options = parser.parse_args()
    state = torch.load(RUNS / (options.run or options.model) / "checkpoint.pt", weights_only=True)
    export(options.model, state["model"], WEIGHTS / options.model)


if __name__ == "__main__":
    main()
