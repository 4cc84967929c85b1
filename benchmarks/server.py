"""Speed of the server against its engine, and a soak: many clients, some of whom go away.

    python benchmarks/server.py --output benchmarks/results/server.json --soak 240

The server runs in this process, the clients in another one on the same cores. Speeds are medians of runs that alternate:
eight streams over HTTP, the same eight prompts as rows of the engine. `90M` is code-m and code-n inflated to 88M
parameters (same law), in bfloat16 as the zoo pair; the soak runs the zoo pair in float32.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch
import uvicorn
from inflate import inflate
from transformers import AutoModelForCausalLM, AutoTokenizer

from unisono import SamplingParams, zoo
from unisono.bench.prompts import PYTHON
from unisono.bench.provenance import provenance
from unisono.config import Config
from unisono.members.source import Source
from unisono.server import run
from unisono.server.app import Service, create_app
from unisono.server.catalog import Catalog
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.settings import Settings

TOKENS, SLOTS, CLIENTS, CHECKED = 64, 8, 64, 200
CANCELLED = 0.1
PATH = "/v1/completions"


def catalog() -> Catalog:
    """The zoo pair, the pair inflated, and the zoo pair in float32."""
    tokenizer = AutoTokenizer.from_pretrained(zoo.path("code-m"))
    small = [AutoModelForCausalLM.from_pretrained(zoo.path(name)) for name in ("code-m", "code-n")]
    large = [inflate(model).to(torch.bfloat16) for model in small]
    precise = tuple(Source(model=f"zoo:{name}", dtype="float32") for name in ("code-m", "code-n"))
    pairs = {
        name: tuple(Source(model=m, tokenizer=tokenizer) for m in two) for name, two in (("zoo", small), ("90M", large))
    }
    return Catalog({name: Config(members) for name, members in (*pairs.items(), ("float32", precise))})


@contextmanager
def serving() -> Iterator[tuple[str, Service]]:
    """The server, in a thread of this process."""
    settings = Settings(port=0, rows=SLOTS, queue=CLIENTS)
    metrics = Metrics()
    service = Service(settings, Models.load(catalog(), settings, metrics), metrics)
    bound = run.listen(settings)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="critical", ws="none"))
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", service
    finally:
        server.should_exit = True
        thread.join()


def body(seed: int, model: str, tokens: int, prompt: str) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, "max_tokens": tokens, "seed": seed, "ignore_eos": True, "stream": True}


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
    return {"http / engine": rates["http"] / rates["engine"], "tokens_per_second": rates, "load of the machine": load}


async def read(client: httpx.AsyncClient, request: Mapping[str, Any], stop_after: int | None = None) -> str | None:
    """The text of a stream; None if it was left after so many events."""
    text, held, events = "", "", 0
    async with client.stream("POST", PATH, json=dict(request)) as answer:
        answer.raise_for_status()
        async for some in answer.aiter_text():
            *whole, held = (held + some).split("\n\n")
            for event in whole:
                events += 1
                if event != "data: [DONE]":
                    chunk = json.loads(event.removeprefix("data: "))
                    if "error" in chunk:
                        raise RuntimeError(chunk["error"]["message"])
                    text += chunk["choices"][0]["text"]
            if stop_after is not None and events >= stop_after:
                return None
    return text


async def rounds(url: str) -> None:
    """For each model named on standard input: eight streams at once, and the seconds until the last has ended."""
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:
        for line in sys.stdin:
            requests = [body(seed, line.strip(), TOKENS, PYTHON[seed]) for seed in range(SLOTS)]
            started = time.perf_counter()
            await asyncio.gather(*(read(client, request) for request in requests))
            print(time.perf_counter() - started, flush=True)


async def clients(url: str, seconds: float) -> None:
    """Mixed requests by many clients until the time is over; prints what they met, with some answers."""
    end = time.monotonic() + seconds
    counts = {"answers": 0, "cancelled": 0, "errors": 0}
    answers: list[tuple[dict[str, Any], str]] = []
    limits = httpx.Limits(max_connections=2 * CLIENTS)

    async def one(index: int, client: httpx.AsyncClient) -> None:
        dice = random.Random(index)
        while time.monotonic() < end:
            request = body(dice.randrange(10**6), "float32", dice.randrange(1, 48), dice.choice(PYTHON))
            request |= {"temperature": dice.choice((0, 0.7, 1)), "top_p": dice.choice((1, 0.9))}
            leave = dice.randrange(1, 8) if dice.random() < CANCELLED else None
            try:
                text = await read(client, request, leave)
            except (httpx.HTTPError, RuntimeError):
                counts["errors"] += 1
                continue
            counts["cancelled" if text is None else "answers"] += 1
            if text is not None:
                answers.append((request, text))

    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        await asyncio.gather(*(one(index, client) for index in range(CLIENTS)))
    chosen = random.Random(0).sample(answers, min(CHECKED, len(answers)))
    print(json.dumps({**counts, "chosen": chosen}))


def soak(url: str, service: Service, seconds: float) -> dict[str, Any]:
    """What many clients met, memory over time, and whether answers equal those of the same requests alone."""
    process, worker = psutil.Process(), service.models["float32"].worker
    client: Any = subprocess.Popen(
        [sys.executable, __file__, "--client", url, "--soak", str(seconds)], stdout=subprocess.PIPE
    )
    memory = []
    started = time.monotonic()
    while client.poll() is None and time.monotonic() - started < seconds:
        time.sleep(seconds / 40)
        memory.append(process.memory_info().rss)
    output, _ = client.communicate()
    found = json.loads(output)
    waited = time.monotonic()
    while (worker.load or worker.running()) and time.monotonic() - waited < 30:
        time.sleep(0.05)
    equal = [_alone(service, request) == text for request, text in found.pop("chosen")]
    quarter = max(1, len(memory) // 4)
    growth = statistics.median(memory[-quarter:]) / statistics.median(memory[quarter : 2 * quarter]) - 1
    return {
        "seconds": seconds, "clients": CLIENTS, "slots": SLOTS, **found, "stuck rows": worker.load + worker.running(),
        "answers compared with the same request alone": len(equal), "of them equal": sum(equal),
        "growth of resident memory from the second to the last quarter": growth,
    }  # fmt: skip


def _alone(service: Service, request: Mapping[str, Any]) -> str:
    names = ("max_tokens", "seed", "ignore_eos", "temperature", "top_p")
    params = SamplingParams(**{name: request[name] for name in names})
    return service.models["float32"].ensemble.generate(request["prompt"], params)[0].text


def main() -> None:
    """Measure, print, and write the result file if asked for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--soak", type=float, default=60.0, help="seconds")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        with_soak = "--soak" in sys.argv
        asyncio.run(clients(arguments.client, arguments.soak) if with_soak else rounds(arguments.client))
        return
    facts = {**provenance(), "tokens": TOKENS, "repeats": arguments.repeats, "figures": {}}
    with serving() as (url, service):
        parts = {
            "zoo": lambda: speed("zoo", url, service, arguments.repeats),
            "soak": lambda: soak(url, service, arguments.soak),
            "90M": lambda: speed("90M", url, service, arguments.repeats),
        }
        for name, part in parts.items():
            facts["figures"][name] = part()
            print(name, json.dumps(facts["figures"][name], indent=1), flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
