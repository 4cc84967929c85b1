"""Speed beside two processes that compute without pause: threads as the command line sets them, against one thread.

    python benchmarks/busy.py --output benchmarks/results/busy.json

`unisono generate` runs in processes of its own, in turns; what is compared is the time from the first step to the last.
Run it where nothing else runs: the two processes are the other load. OpenMP's own waiting may take minutes; such a
process is ended `--limit` seconds after it began, and then the figure is a little more than what decoding took at least.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ratios import report

from unisono.bench.prompts import PYTHON
from unisono.cli.cores import COUNTS, WAITING

BUSY = 2
WAYS = {"default": {}, "one thread": {"OMP_NUM_THREADS": "1"}, "OpenMP's own waiting": {"GOMP_SPINCOUNT": "300000"}}
BARS = {"default / one thread, beside two busy processes": "<= 2.0"}


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute without pause, inside the block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(settings: Mapping[str, str], members: list[str], tokens: int, limit: float) -> float:
    """Of one text; the limit if OpenMP's own waiting takes longer."""
    listed = [part for member in members for part in ("-m", member)]
    text = ["--seed", "1", "--ignore-eos", "--max-tokens", str(tokens), "--json"]
    environment = {key: value for key, value in os.environ.items() if key not in WAITING | COUNTS}
    command = [sys.executable, "-m", "unisono", "generate", PYTHON[0], *listed, *text]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**environment, **settings}, timeout=limit
        )
    except subprocess.TimeoutExpired:
        if settings != WAYS["OpenMP's own waiting"]:
            raise
        return limit
    return float(json.loads(done.stdout)["stats"]["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", nargs="+", default=["zoo:code-m", "zoo:code-n"])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=240)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    times: dict[str, dict[str, list[float]]] = {}
    for place, count in (("alone", 0), ("beside two busy processes", BUSY)):
        with busy(count):
            time.sleep(1)
            found = times[place] = {way: [] for way in WAYS}
            for _ in range(asked.repeats):
                for way, settings in WAYS.items():
                    found[way].append(seconds(settings, asked.members, asked.tokens, asked.limit))
    figures = {
        f"{way} / one thread, {place}": statistics.median(found[way]) / statistics.median(found["one thread"])
        for place, found in times.items()
        for way in WAYS
        if way != "one thread"
    }
    facts = {"members": asked.members, "tokens": asked.tokens, "repeats": asked.repeats, "limit": asked.limit}
    report(figures, BARS, asked.output, **facts, cores=len(os.sched_getaffinity(0)), seconds=times)


if __name__ == "__main__":
    main()
