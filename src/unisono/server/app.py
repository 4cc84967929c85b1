"""The FastAPI application with its middleware, error handlers, endpoints and playground."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.routing import Route

import unisono
from unisono.errors import UnisonoError
from unisono.server import errors, paths
from unisono.server.access import HEADER, Access
from unisono.server.job import CancelledError
from unisono.server.openai import endpoints
from unisono.server.openai.schema import FAULTS
from unisono.server.security import BodyLimit, Keys
from unisono.server.service import Service
from unisono.server.sse import JSON, Refusal

MISSING, WRONG_METHOD = 404, 405
LONGEST = 200  # characters of a path that an error repeats
STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; frame-ancestors 'none'"


def create_app(service: Service) -> FastAPI:
    """Return the application. The application starts the decode threads at startup and stops them at shutdown."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for worker in service.models.workers:
            worker.thread.start()
        yield
        await run_in_threadpool(service.models.close, service.settings.reserve / 2)

    app = FastAPI(
        title="unisono",
        version=unisono.__version__,
        description="Several language models decode one text, behind OpenAI's API.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the module `paths` redirects with a message
        default_response_class=JSON,
        responses=FAULTS,
    )
    app.add_middleware(BodyLimit, limit=service.settings.max_body, timeout=service.settings.timeout)
    app.add_middleware(Keys, keys=service.settings.keys)
    app.add_middleware(Access)  # the outermost middleware, because it is added last
    _add_error_handlers(app)
    endpoints.add(app, service)
    _add_state(app, service)
    _add_playground(app)
    return app


def _add_state(app: FastAPI, service: Service) -> None:
    @app.head("/health", include_in_schema=False)  # load balancers use HEAD
    @app.get("/health")
    async def health() -> Response:
        """Return status 200 if all decode threads are alive, else status 500."""
        alive = all(worker.thread.is_alive() for worker in service.models.workers)
        return JSON({"status": "ok" if alive else "failed"}, 200 if alive else 500)

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready")
    async def ready() -> Response:
        """Return status 200 if the server accepts new requests, else status 503."""
        return JSON({"status": "stopping" if service.closing else "ready"}, 503 if service.closing else 200)

    @app.head("/version", include_in_schema=False)
    @app.get("/version")
    async def version() -> Response:
        """Return the version of unisono."""
        return JSON({"version": unisono.__version__})

    @app.get("/metrics")
    def metrics() -> Response:
        """Return the metrics in the text format of Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_playground(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def playground() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": POLICY})


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(errors.APIError)
    @app.exception_handler(UnisonoError)
    async def refused(_: Request, error: errors.APIError | UnisonoError) -> Response:
        return Refusal(errors.refused(error) if isinstance(error, UnisonoError) else error)

    @app.exception_handler(CancelledError)
    async def cancelled(request: Request, _: CancelledError) -> Response:
        request.state.reason = errors.GONE
        return Response(status_code=errors.CLIENT_CLOSED)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        return Refusal(errors.malformed(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        path, routes = quote(request.scope["path"])[:LONGEST], [each for each in app.routes if isinstance(each, Route)]
        if error.status_code == MISSING:
            return Refusal(paths.missing(path, {route.path for route in routes}))
        if error.status_code == WRONG_METHOD:
            methods = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
            return Refusal(paths.wrong_method(request.method, path, ", ".join(sorted(methods))))
        return Refusal(errors.APIError(error.status_code, str(error.detail), headers=dict(error.headers or {})))

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> Response:  # starlette logs the exception with its traceback
        internal = errors.internal()
        internal.headers[HEADER] = request.state.request_id  # this response bypasses `Access`
        return Refusal(internal)
