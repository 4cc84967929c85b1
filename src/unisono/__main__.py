"""`python -m unisono` is the `unisono` command."""

from unisono.cli import main

main()
