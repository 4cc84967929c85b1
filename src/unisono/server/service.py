"""The state that all endpoints of the server share."""

import asyncio
import time
from dataclasses import dataclass

from unisono.server import errors
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.settings import Settings


@dataclass
class Service:
    """The settings, models and metrics that all endpoints share.

    While `closing` is true, the server refuses new requests.
    """

    settings: Settings
    models: Models
    metrics: Metrics
    closing: bool = False

    def require_open(self) -> None:
        """Raise an `APIError` with status 503 if the server is stopping."""
        if self.closing:
            raise errors.shutting_down()

    async def close(self) -> None:
        """Refuse new requests, and wait until all running requests have finished.

        If requests still run after the grace time minus `reserve`, end these requests.
        """
        self.closing = True
        end = time.monotonic() + self.settings.grace - self.settings.reserve
        while any(worker.load for worker in self.models.workers) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for worker in self.models.workers:
            worker.abort(errors.shutting_down())
