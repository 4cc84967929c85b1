"""`python -m unisono.cli` is the `unisono` command."""

from unisono.cli import main

main()
