"""`python -m asa` is `asa`; torchrun starts it so."""

from .cli import main

main()
