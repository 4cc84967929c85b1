"""What tests of the command line have, here too."""

from tests.cli.conftest import run  # noqa: F401
