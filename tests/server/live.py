"""A real server in a thread of this process, at a free port, over tiny models."""

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from tests.tiny import text_models, tokenizer
from unisono import Ensemble
from unisono.config import Config
from unisono.members.source import Source
from unisono.server import run
from unisono.server.app import create_app
from unisono.server.catalog import Catalog
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.service import Service
from unisono.server.settings import Settings

KEY = "a key that opens"
PROMPT = "def f(x):"
MESSAGES = [{"role": "user", "content": "what is f"}]


@functools.cache
def sources() -> tuple[Source, Source]:
    """Two members of one tokenizer that agree now and then; the second one is a noisy copy with a layer less to say."""
    tokens = tokenizer()
    large, small = text_models()
    return Source(model=large, tokenizer=tokens, name="large"), Source(model=small, tokenizer=tokens, name="small")


def catalog() -> Catalog:
    """Two collaborations and both members alone, over one copy of the weights."""
    large, small = sources()
    sampling = {"max_tokens": 24}
    models = {
        "pair": Config((large, small), "weighted:0.7,0.3", "cos:2,1", sampling=sampling),
        "contrast": Config((large, small), "contrastive:0.2", "cos:1,2", sampling=sampling),
    }
    return Catalog(models).with_members_alone()


@dataclass
class Live:
    """A running server and how to talk to it."""

    url: str
    service: Service
    client: openai.OpenAI

    @property
    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0, timeout=60)

    @property
    def http(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=self.url, timeout=60, headers=headers)

    def ensemble(self, name: str = "pair") -> Ensemble:
        return self.service.models[name].ensemble

    def connection(self) -> socket.socket:
        """For what no client would send."""
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=60)

    def idle(self, seconds: float = 20.0) -> bool:
        """Whether all rows have left the engines, waited for."""
        workers = self.service.models.workers
        return eventually(
            lambda: not any(worker.load or worker.running() or worker.ensemble.engine._running for worker in workers),
            seconds,
        )


def combine_by(combine: object, ensemble: Ensemble, patch: pytest.MonkeyPatch) -> None:
    """Let the ensemble follow this combination where a request names none."""
    methods = ensemble._methods
    patch.setattr(methods, "_defaults", replace(methods._defaults, combine=combine))


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something comes true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


@contextlib.contextmanager
def live(served: Catalog | None = None, **settings: Any) -> Iterator[Live]:
    """A server that is up inside the block."""
    chosen = Settings(port=0, **settings)
    metrics = Metrics()
    service = Service(chosen, Models.load(served or catalog(), chosen, metrics), metrics)
    bound = run.listen(chosen)
    host, port = bound.getsockname()
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="critical", ws="none"))
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        url = f"http://{host}:{port}"
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
            yield Live(url, service, client)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()
