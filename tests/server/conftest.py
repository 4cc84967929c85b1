"""One server for all tests that do not change it."""

from collections.abc import Iterator

import pytest

from tests.server.live import KEY, Live, live


@pytest.fixture(scope="session")
def server() -> Iterator[Live]:
    """With an API key, generous limits, and every override allowed."""
    with live(keys=(KEY,), rows=8) as running:
        yield running
