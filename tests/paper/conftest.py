"""The stand-ins' folder, and one loaded pair at a time: together they would take gigabytes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paper import pairs
from tests.paper.pairs import Pair


@pytest.fixture(scope="session")
def hub() -> Iterator[Path]:
    """A folder for stand-ins, removed at the end: they are large."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module", params=[*pairs.FILES, pairs.MIXED])
def pair(request: pytest.FixtureRequest, hub: Path) -> Pair:
    """Each pair in turn; the tests of a pair share it and must not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(hub)
        return pairs.load(request.param, hub)
