"""Speed of the server against its engine, a soak, malformed requests, and an end under load.

    python benchmarks/server.py --output benchmarks/results/server.json
    python benchmarks/server.py --parts speed --output benchmarks/results/server.json   # renews these figures only

The server runs in this process, the clients in another one on the same cores. Speeds are medians of runs that alternate:
eight streams over HTTP, the same eight prompts as rows of the engine. `90M` is code-m and code-n inflated to 88M
parameters (same law), in bfloat16 as the zoo pair; the soak runs the zoo pair in float32.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from abuse import ending, malformed
from serving import PATIENCE, SLOTS, chunks, serving
from soak import soak

from unisono import SamplingParams
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance
from unisono.server.service import Service

TOKENS = 64
BARS = {
    "speed": "http / engine >= 0.9 (90M), >= 0.7 (zoo)",
    "soak": "0 errors, 0 stuck rows, flat memory, all compared answers equal",
    "malformed": "no 5xx, no hang",
    "ending": "0 torn streams, exit status 0 within the grace time",
}
PATH = "/v1/completions"


def body(seed: int, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": PYTHON[seed],
        "max_tokens": TOKENS,
        "seed": seed,
        "ignore_eos": True,
        "stream": True,
    }


def speeds(repeats: int) -> dict[str, Any]:
    with serving(("zoo", "90M")) as (url, service):
        return {name: speed(name, url, service, repeats) for name in ("zoo", "90M")}


def speed(name: str, url: str, service: Service, repeats: int) -> dict[str, Any]:
    """Tokens per second of a pair over HTTP and by the engine: medians, their ratio, and the load of the machine."""
    client: Any = subprocess.Popen(
        [sys.executable, __file__, "--client", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    params = [SamplingParams(max_tokens=TOKENS, seed=seed, ignore_eos=True) for seed in range(SLOTS)]
    ensemble = service.models[name].ensemble
    seconds: dict[str, list[float]] = {"engine": [], "http": []}
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        ensemble.generate(list(PYTHON[:SLOTS]), params, progress=False)
        direct = time.perf_counter() - started
        client.stdin.write(name + "\n")
        client.stdin.flush()
        through = json.loads(client.stdout.readline())
        if repeat:
            seconds["engine"].append(direct)
            seconds["http"].append(through)
    client.stdin.close()
    client.wait()
    rates = {way: SLOTS * TOKENS / statistics.median(times) for way, times in seconds.items()}
    load = psutil.getloadavg()[0]
    return {
        "http / engine": rates["http"] / rates["engine"], "tokens_per_second": rates, "repeats": repeats,
        "load of the machine": load,
    }  # fmt: skip


async def rounds(url: str) -> None:
    """For each model named on standard input: eight streams at once, and the seconds until the last has ended."""

    async def read(client: httpx.AsyncClient, request: dict[str, Any]) -> None:
        async for _ in chunks(client, PATH, request):
            pass

    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        for line in sys.stdin:
            requests = [body(seed, line.strip()) for seed in range(SLOTS)]
            started = time.perf_counter()
            await asyncio.gather(*(read(client, request) for request in requests))
            print(time.perf_counter() - started, flush=True)


def soaked(seconds: float) -> dict[str, Any]:
    with serving(("float32",)) as (url, service):
        return soak(url, service, seconds)


def main() -> None:
    """Measure, print, and write the result file if asked for one; what it has of other parts stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=BARS, default=list(BARS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--soak", type=float, default=600.0, help="seconds")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        asyncio.run(rounds(given.client))
        return
    measures = {
        "speed": lambda: speeds(given.repeats),
        "soak": lambda: soaked(given.soak),
        "malformed": malformed,
        "ending": ending,
    }
    for name in given.parts:
        facts = provenance()
        part = {"bar": BARS[name], "figures": measures[name](), **facts}
        print(name, json.dumps(part["figures"], indent=1), flush=True)
        if given.output:
            known = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else {}
            given.output.write_text(json.dumps({**known, name: part}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
