"""What the endpoints share."""

import asyncio
import time
from dataclasses import dataclass

from unisono.server import errors
from unisono.server.metrics import Metrics
from unisono.server.models import Models
from unisono.server.settings import Settings


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
