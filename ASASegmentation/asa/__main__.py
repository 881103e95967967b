"""`python -m asa` is `asa`; torchrun starts it so."""

from asa.cli import main

main()
