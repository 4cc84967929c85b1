"""A server in this process, over the bundled pair as it is and inflated, and how its clients read streams."""

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import torch
import uvicorn
from transformers import AutoModelForCausalLM, AutoTokenizer

from unisono import zoo
from unisono.bench.inflate import inflate
from unisono.cli.loading import PLAIN_TEMPLATE
from unisono.config import Config
from unisono.members.backends import as_source
from unisono.members.source import Source
from unisono.server import run
from unisono.server.app import Service, create_app
from unisono.server.catalog import Catalog
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.settings import Settings

NAMES = ("code-m", "code-n")
SLOTS, QUEUE = 8, 256
PATIENCE = 3600.0  # seconds; a benchmark beside this one may stop all of its processes for minutes
Members = tuple[Source, ...]


def _bundled(change: Callable[[Any], Any]) -> Members:
    tokenizer = AutoTokenizer.from_pretrained(zoo.path(NAMES[0]))
    models = [AutoModelForCausalLM.from_pretrained(zoo.path(name)) for name in NAMES]
    return tuple(Source(model=change(model), tokenizer=tokenizer) for model in models)


def _precise() -> Members:
    return tuple(as_source({"model": f"zoo:{name}", "dtype": "float32"}) for name in NAMES)


PAIRS: dict[str, Callable[[], Members]] = {
    "zoo": lambda: _bundled(lambda model: model),
    "90M": lambda: _bundled(lambda model: inflate(model).to(torch.bfloat16)),
    "float32": _precise,
}


@contextmanager
def serving(names: Sequence[str]) -> Iterator[tuple[str, Service]]:
    """A server of these pairs in a thread of this process: its address, and itself."""
    settings = Settings(port=0, rows=SLOTS, queue=QUEUE, timeout=PATIENCE, chat_template=PLAIN_TEMPLATE)
    metrics = Metrics()
    catalog = Catalog({name: Config(PAIRS[name]()) for name in names})
    service = Service(settings, Models.load(catalog, settings, metrics), metrics)
    bound = run.listen(settings)
    config = uvicorn.Config(create_app(service), log_level="critical", ws="none", timeout_keep_alive=run.KEEP_ALIVE)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", service
    finally:
        server.should_exit = True
        thread.join()


async def chunks(client: httpx.AsyncClient, path: str, request: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a streamed answer as they come.

    Raises:
        RuntimeError: the answer is an error, or ends without `[DONE]`.
    """
    held = ""
    async with client.stream("POST", path, json=dict(request)) as answer:
        if answer.status_code != 200:
            raise RuntimeError((await answer.aread()).decode())
        async for some in answer.aiter_text():
            *whole, held = (held + some).split("\n\n")
            for event in whole:
                if event == "data: [DONE]":
                    return
                chunk = json.loads(event.removeprefix("data: "))
                if "error" in chunk:
                    raise RuntimeError(chunk["error"]["message"])
                yield chunk
    raise RuntimeError("a stream ended without [DONE]")
