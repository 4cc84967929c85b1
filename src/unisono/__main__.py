"""Run the `unisono` command by `python -m unisono`."""

from unisono.cli import main

main()
