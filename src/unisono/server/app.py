"""The endpoints."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

import unisono
from unisono.errors import UnisonoError
from unisono.server import errors, listing
from unisono.server.answer import Answer
from unisono.server.job import CancelledError
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.order import chat_order, completion_order
from unisono.server.schema import ChatRequest, CompletionRequest, DetokenizeRequest, ErrorAnswer, TokenizeRequest
from unisono.server.security import BodyLimit, Keys
from unisono.server.settings import Settings
from unisono.server.shapes import ChatShape, CompletionShape
from unisono.server.sse import JSON

LOG = logging.getLogger("unisono.server")
STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 404, 408, 413, 429, 500, 503, 504)
}


@dataclass
class Service:
    """What the endpoints share. `closing` turns true when the server stops: new work is refused from then on."""

    settings: Settings
    models: Models
    metrics: Metrics
    closing: bool = False

    def require_open(self) -> None:
        if self.closing:
            raise errors.shutting_down()

    async def close(self) -> None:
        """Refuse new work, let running requests finish for most of the grace time, then end them."""
        self.closing = True
        end = time.monotonic() + self.settings.grace - self.settings.reserve
        while any(worker.load for worker in self.models.workers) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for worker in self.models.workers:
            worker.abort(errors.shutting_down())


def create_app(service: Service) -> FastAPI:
    """The application; its threads run from startup to shutdown."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for worker in service.models.workers:
            worker.start()
        yield
        await run_in_threadpool(service.models.close, service.settings.reserve / 2)

    app = FastAPI(
        title="unisono",
        version=unisono.__version__,
        description="Several language models decode one text, behind OpenAI's API.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        default_response_class=JSON,
        responses=FAULTS,
    )
    app.add_middleware(BodyLimit, limit=service.settings.max_body, timeout=service.settings.timeout)
    app.add_middleware(Keys, keys=service.settings.keys)
    _add_error_handlers(app)
    _add_generation(app, service)
    _add_tokens(app, service)
    _add_state(app, service)
    _add_playground(app)
    return app


def _add_generation(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        return await _answer(service, request, body, chat_order, ChatShape)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue prompts."""
        return await _answer(service, request, body, completion_order, CompletionShape)


async def _answer(service: Service, request: Request, body: Any, make_order: Any, make_shape: Any) -> Response:
    service.require_open()
    model = service.models[body.model]
    if service.settings.log_prompts:
        LOG.info("prompt: %s", json.dumps(body.model_dump(include={"prompt", "messages"})))
    order = await run_in_threadpool(make_order, body, model, service.settings)
    shape = make_shape(model.ensemble.tokenizer, order.top is not None)
    return await Answer(body, order, shape, service.settings.timeout).respond(request)


def _add_tokens(app: FastAPI, service: Service) -> None:
    @app.post("/tokenize")
    def tokenize(body: TokenizeRequest) -> Response:
        """The token ids of a text or a conversation."""
        return JSON(listing.tokenized(body, service.models[body.model]))

    @app.post("/detokenize")
    def detokenize(body: DetokenizeRequest) -> Response:
        """The text of token ids."""
        return JSON(listing.detokenized(body, service.models[body.model]))


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models() -> Response:
        """What can be asked for as `model`."""
        found = [listing.described(model, service.settings) for model in service.models.by_name.values()]
        return JSON({"object": "list", "data": found})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """One of them."""
        return JSON(listing.described(service.models[name], service.settings))

    @app.head("/health", include_in_schema=False)  # balancers ask so
    @app.get("/health")
    async def health() -> Response:
        """Whether every decode thread lives."""
        alive = all(worker.alive for worker in service.models.workers)
        return JSON({"status": "ok" if alive else "failed"}, 200 if alive else 500)

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready")
    async def ready() -> Response:
        """Whether new requests are taken."""
        return JSON({"status": "stopping" if service.closing else "ready"}, 503 if service.closing else 200)

    @app.head("/version", include_in_schema=False)
    @app.get("/version")
    async def version() -> Response:
        """The version of unisono."""
        return JSON({"version": unisono.__version__})

    @app.get("/metrics")
    def metrics() -> Response:
        """Prometheus' text format."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_playground(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def playground() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": POLICY})


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(errors.APIError)
    async def refused(_: Request, error: errors.APIError) -> Response:
        return JSON(error.body, error.status, headers=error.headers)

    @app.exception_handler(UnisonoError)
    async def mistaken(request: Request, error: UnisonoError) -> Response:
        return await refused(request, errors.refused(error))

    @app.exception_handler(CancelledError)
    async def cancelled(_: Request, error: CancelledError) -> Response:
        return Response(status_code=errors.CLIENT_CLOSED)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        return await refused(request, errors.malformed(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return await refused(request, errors.APIError(error.status_code, str(error.detail), headers=error.headers))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:  # starlette logs it with its traceback
        return await refused(request, errors.internal())
