"""Run the command line as `python -m asa`, as torchrun does."""

from asa.cli import main

main()
