"""Malformed requests, and an end under load; parts of benchmarks/server.py that need the tests of this checkout."""

import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.server.live import live
from tests.server.test_malformed import CASES, HEADERS, KEY, described
from tests.server.test_process import process

EXAMPLES = 100  # of each operation in our description
HANG = 600.0  # seconds without an answer; some ask for 128 choices
CLIENTS, SLOTS, GRACE = 64, 8, 5


class Watch:
    """Statuses and the longest wait."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.hangs = 0
        self.longest = 0.0

    def note(self, send: Any) -> None:
        started = time.monotonic()
        try:
            self.statuses[send().status_code] += 1
        except (httpx.TimeoutException, requests.Timeout):
            self.hangs += 1
        self.longest = max(self.longest, time.monotonic() - started)

    def facts(self) -> dict[str, Any]:
        return {
            "requests": sum(self.statuses.values()) + self.hangs,
            "5xx": sum(count for status, count in self.statuses.items() if status >= 500), "hangs": self.hangs,
            "longest wait in seconds": round(self.longest, 3),
            "by status": {str(status): count for status, count in sorted(self.statuses.items())},
        }  # fmt: skip


def malformed() -> dict[str, Any]:
    """Requests from our OpenAPI description and those written by hand, against tiny models."""
    by_hand, generated = Watch(), Watch()
    with live(keys=(KEY,), rows=8) as server:
        for path, content in CASES:
            by_hand.note(
                lambda at=path, it=content: httpx.post(f"{server.url}{at}", content=it, headers=HEADERS, timeout=HANG)
            )
        schema: Any = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=HEADERS)
        for operation in schema.get_all_operations():

            @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
            @given(case=described(operation.ok()))
            def check(case: Any) -> None:
                if isinstance(case.body, dict) and "model" in case.body:
                    case.body["model"] = "pair"
                generated.note(lambda: case.call(headers=HEADERS, timeout=HANG))

            check()
        idle = server.idle()
    return {"by hand": by_hand.facts(), "schemathesis": generated.facts(), "all rows freed": idle}


def ending() -> dict[str, Any]:
    """TERM to a busy server: how its streams end, and when it does."""
    ends: Counter[str] = Counter(finished=0, refused=0, torn=0, **{"ended by an error event": 0})

    def read(url: str, seed: int) -> None:
        body = {"model": "zoo", "prompt": "import os", "max_tokens": 900 if seed % 4 else 60, "seed": seed, "stream": True,
                "ignore_eos": True}  # fmt: skip
        try:
            with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=600) as answer:
                lines = [line for line in answer.iter_lines() if line]
        except httpx.HTTPError:
            ends["torn"] += 1
            return
        if answer.status_code != 200:
            ends["refused" if json.loads(lines[-1])["error"]["code"] == "shutting_down" else "torn"] += 1
        elif lines[-1] != "data: [DONE]":
            ends["torn"] += 1
        else:
            last = json.loads(lines[-2].removeprefix("data: "))
            ends["ended by an error event" if "error" in last else "finished"] += 1

    with process("--max-num-seqs", str(SLOTS), "--grace", str(GRACE)) as (running, url):
        threads = [threading.Thread(target=read, args=(url, seed)) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while f'running{{model_name="zoo"}} {SLOTS}.0' not in httpx.get(f"{url}/metrics", timeout=600).text:
            time.sleep(0.05)
        time.sleep(2)
        running.send_signal(signal.SIGTERM)
        started = time.monotonic()
        status = running.wait(timeout=600)
        took = time.monotonic() - started
        for thread in threads:
            thread.join()
    return {
        "streams": CLIENTS, "slots": SLOTS, **ends, "exit status": status, "grace in seconds": GRACE,
        "seconds from TERM to the exit": round(took, 2),
    }  # fmt: skip
