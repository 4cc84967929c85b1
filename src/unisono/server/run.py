"""Run the server of `unisono serve` until a signal stops it."""

import asyncio
import logging
import signal
import socket
import warnings
from concurrent.futures import Future
from types import FrameType

import uvicorn

from unisono.errors import ConfigurationError
from unisono.server.app import create_app
from unisono.server.catalog import Catalog
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.service import Service
from unisono.server.settings import Settings
from unisono.threads import apart

BACKLOG = 2048
KEEP_ALIVE = 75  # seconds; clients close idle connections earlier, so no request arrives at a connection that closes


class Server(uvicorn.Server):
    """A uvicorn server that lets running requests finish before it stops.

    After SIGTERM or SIGINT, running requests may continue for a limited time. Then `run` returns without an error.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._closing: Future[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At the first signal, begin to close the service. At the second signal, end the process at once."""
        if self._closing is None:
            self._closing = asyncio.run_coroutine_threadsafe(self._close(), asyncio.get_running_loop())
        else:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)

    async def _close(self) -> None:
        """Close the service before uvicorn stops. While the service closes, new requests get status 503."""
        await self._service.close()
        self.should_exit = True


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens at the host and port of the settings.

    Raise ConfigurationError if the server cannot listen at this address.
    """
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        where, reason = f"{settings.host}:{settings.port}", error.strerror or error
        raise ConfigurationError(f"cannot listen at {where}: {reason}; try another --host or --port") from error


def serve(catalog: Catalog, settings: Settings) -> None:
    """Load the models and serve them until SIGTERM or SIGINT arrives.

    Raises:
        ConfigurationError: the address is not available. This error is raised before any model is loaded.
        MemberError: a model cannot be loaded.
    """
    with listen(settings) as bound:
        if settings.public and not settings.keys:
            message = "is a public address and there is no API key: whoever reaches it can use it; set --api-key"
            warnings.warn(f"{settings.host} {message}", stacklevel=2)
        metrics = Metrics()
        models = apart(lambda: Models.load(catalog, settings, metrics))  # this thread computes nothing after loading
        _run(Service(settings, models, metrics), bound)


def _run(service: Service, bound: socket.socket) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    host, port = bound.getsockname()[:2]
    names = ", ".join(service.models.by_name)
    logger = logging.getLogger("unisono.server")
    logger.info("serving %s at http://%s:%d", names, host, port)
    for name, model in service.models.by_name.items():
        if rounding := model.ensemble.lineup.rounding:
            message = "%s: in %s, one seed may give two texts where rounding tips a near-tie; see --deterministic"
            logger.info(message, name, rounding)
    config = uvicorn.Config(
        create_app(service),
        log_level="info",
        access_log=False,  # `Access` writes the access log
        ws="none",
        timeout_graceful_shutdown=service.settings.reserve / 4,  # type: ignore[arg-type]  # the time for idle clients
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
    )
    Server(config, service).run(sockets=[bound])
