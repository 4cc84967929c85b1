"""Run the `unisono` command by `python -m unisono.cli`."""

from unisono.cli import main

main()
