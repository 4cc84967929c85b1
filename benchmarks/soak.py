"""Many clients with mixed requests for a long time, some of whom go away; a part of benchmarks/server.py.

The clients are a process of their own. Time is counted while they are awake, so that a pause of the machine shortens
nothing.
"""

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Any

import httpx
import psutil
from serving import PATIENCE, SLOTS, chunks

from unisono.bench.prompts import PYTHON
from unisono.server.service import Service

MODEL, CLIENTS, CHECKED = "float32", 64, 200
CANCELLED, BROKEN = 0.1, 0.02
SAMPLES = 24  # of the memory, evenly over the time
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
METHODS: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"schedule": "standard"}, {"schedule": "cos:1,4"}, {"schedule": "speculative:3"},
    {"schedule": "cos:2,2", "verification": "block"}, {"schedule": "parallel"}, {"weights": [0.3, 0.7]},
    {"combine": "drawn:0.5,0.5"}, {"combine": "contrastive:0.1"}, {"combine": "product:1,0.5"}, {"combine": "cosd:0.5,0.5"},
    {"combine": "cascade:rule=chow,alpha=0.3"},
)  # fmt: skip
SAMPLING: tuple[dict[str, Any], ...] = (
    {}, {}, {"temperature": 0}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 20, "min_p": 0.05}, {"stop": ["\n\n", ")"]},
    {"presence_penalty": 0.5, "frequency_penalty": 0.3}, {"repetition_penalty": 1.2}, {"logit_bias": {"70": 4.0}},
    {"n": 2}, {"n": 3, "temperature": 0.8}, {"ignore_eos": True, "min_tokens": 1},
)  # fmt: skip


def mixed(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """A request like no other: its path and body."""
    body = {"model": MODEL, "seed": dice.randrange(10**6), "max_tokens": dice.randrange(1, 64)}
    body |= dice.choice(SAMPLING)
    if method := dice.choice(METHODS):
        body["collaboration"] = method
    prompt = dice.choice(PYTHON) * dice.choice((1, 1, 1, 6))
    if dice.random() < 0.3:
        logs = {"logprobs": True, "top_logprobs": 3} if dice.random() < 0.3 else {}
        return CHAT, {**body, **logs, "messages": [{"role": "user", "content": prompt}]}
    extra: dict[str, Any] = dice.choice(({}, {}, {}, {"echo": True}, {"logprobs": 2}, {"echo": True, "logprobs": 1}))
    return TEXT, {**body, **extra, "prompt": [prompt, dice.choice(PYTHON)] if dice.random() < 0.1 else prompt}


class Clients:
    """What all clients met."""

    def __init__(self, client: httpx.AsyncClient, seconds: float) -> None:
        self.counts = Counter(answers=0, cancelled=0, refused=0, errors=0)
        self.answers: list[tuple[str, dict[str, Any], list[str]]] = []
        self.problems: list[str] = []
        self.over = False
        self._client = client
        self._seconds = seconds

    async def run(self) -> None:
        await asyncio.gather(self._count_down(), *(self._one(random.Random(index)) for index in range(CLIENTS)))

    async def _count_down(self) -> None:
        awake, last = 0.0, time.monotonic()
        while awake < self._seconds:
            await asyncio.sleep(0.2)
            now = time.monotonic()
            awake, last = awake + min(now - last, 2.0), now
        self.over = True

    async def _one(self, dice: random.Random) -> None:
        while not self.over:
            path, body = mixed(dice)
            try:
                if dice.random() < BROKEN:
                    await self._broken(path, body)
                elif dice.random() < CANCELLED:
                    await self._cancelled(path, body, dice)
                else:
                    await self._whole(path, body, dice)
            except (httpx.HTTPError, RuntimeError) as error:
                self.counts["errors"] += 1
                self.problems.append(f"{error!r} {json.dumps(body)}"[:400])

    async def _broken(self, path: str, body: dict[str, Any]) -> None:
        """A request with a mistake is refused, and disturbs nobody."""
        answer = await self._client.post(path, json={**body, "max_tokens": -1})
        self.counts["refused" if answer.status_code == 400 else "errors"] += 1

    async def _cancelled(self, path: str, body: dict[str, Any], dice: random.Random) -> None:
        """Leave in the middle: of a stream after some chunks, of an answer in one piece after a while."""
        body |= {"max_tokens": 400, "ignore_eos": True}
        body.pop("stop", None)
        if dice.random() < 0.5:
            with suppress(httpx.TimeoutException):
                await self._client.post(path, json=body, timeout=dice.uniform(0.05, 3.0))
        else:
            async with aclosing(chunks(self._client, path, {**body, "stream": True})) as stream:
                for _ in range(dice.randrange(1, 12)):
                    await anext(stream, None)
        self.counts["cancelled"] += 1

    async def _whole(self, path: str, body: dict[str, Any], dice: random.Random) -> None:
        found = await ask(self._client, path, body, stream=dice.random() < 0.6)
        self.counts["answers"] += 1
        self.answers.append((path, body, found))


async def ask(client: httpx.AsyncClient, path: str, body: dict[str, Any], stream: bool) -> list[str]:
    """The text of every choice, each with its finish reason."""
    choices: dict[int, list[str]] = {}
    if stream:
        async for chunk in chunks(client, path, {**body, "stream": True}):
            for choice in chunk["choices"]:
                text = choice["delta"].get("content", "") if path == CHAT else choice["text"]
                choices.setdefault(choice["index"], []).append(text + (choice["finish_reason"] or ""))
    else:
        answer = await client.post(path, json=body)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        for choice in answer.json()["choices"]:
            text = choice["message"]["content"] if path == CHAT else choice["text"]
            choices[choice["index"]] = [text, choice["finish_reason"]]
    return ["".join(choices[index]) for index in sorted(choices)]


async def visit(url: str, seconds: float) -> None:
    """All clients until the time is over, then some of their requests again, each alone; prints what came of it."""
    limits = httpx.Limits(max_connections=2 * CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as client:
        clients = Clients(client, seconds)
        await clients.run()
        print("over", flush=True)
        sys.stdin.readline()  # until the server has been looked at
        chosen = random.Random(0).sample(clients.answers, min(CHECKED, len(clients.answers)))
        alone = [(await ask(client, path, body, stream=False), found, body) for path, body, found in chosen]
    different = [json.dumps([own, found, body])[:2000] for own, found, body in alone if own != found]
    print(
        json.dumps(
            {"counts": clients.counts, "compared": len(alone), "different": different, "problems": clients.problems}
        )
    )


def soak(url: str, service: Service, seconds: float) -> dict[str, Any]:
    """What the clients met, memory over time, and what is left in the server when they have gone."""
    visitor: Any = subprocess.Popen(
        [sys.executable, __file__, url, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    memory: list[int] = []
    watch = psutil.Process()
    started = time.monotonic()
    listener = threading.Thread(target=visitor.stdout.readline)
    listener.start()
    while listener.is_alive():
        listener.join(seconds / 200)
        memory.append(watch.memory_info().rss)
    took = time.monotonic() - started
    stuck = _left(service)
    found: Mapping[str, Any] = json.loads(visitor.communicate("\n")[0])
    quarter = max(1, len(memory) // 4)
    growth = statistics.median(memory[-quarter:]) / statistics.median(memory[quarter : 2 * quarter]) - 1
    for problem in itertools.chain(found["problems"][:10], found["different"][:10]):
        print(problem, file=sys.stderr)
    return {
        "seconds": seconds, "seconds on the clock": round(took, 1), "clients": CLIENTS, "slots": SLOTS, **found["counts"],
        "stuck rows": stuck, "answers compared with the same request alone": found["compared"],
        "of them equal": found["compared"] - len(found["different"]),
        "growth of resident memory from the second to the last quarter": round(growth, 4),
        "resident memory in MiB over time": [size >> 20 for size in memory[:: max(1, len(memory) // SAMPLES)]],
    }  # fmt: skip


def _left(service: Service) -> int:
    """Rows and slots that are still taken half a minute after the last client has gone."""
    worker = service.models[MODEL].worker
    end, left = time.monotonic() + 30, 1
    while left and time.monotonic() < end:
        time.sleep(0.05)
        slots = sum(len(member._cache.lengths) for member in worker.ensemble.members)  # type: ignore[attr-defined]
        left = worker.load + worker.running() + len(worker.ensemble.engine._running) + slots
    return left


if __name__ == "__main__":
    asyncio.run(visit(sys.argv[1], float(sys.argv[2])))
