"""What every test may rely on: no network, a Hypothesis profile without deadlines, and the repository's root."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before transformers is imported anywhere: a test that would reach a hub fails at once instead.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A first call of torch takes long, so no deadlines. Under CI, Hypothesis loads its own profile `ci`, which has none either
# and is deterministic. `--hypothesis-profile=nightly` searches longer.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("nightly", deadline=None, max_examples=2000)
if not os.environ.get("CI"):
    settings.load_profile("default")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whether members run compiled does not depend on what this user has compiled before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield
