"""Run the command line: the entry point `asa`, and `python -m asa`, as torchrun does."""

from __future__ import annotations

import sys

from asa.errors import Cancelled
from asa.interrupts import interruptible


def main() -> None:
    """Run :func:`asa.cli.main`; a signal is understood even while that is being imported."""
    try:
        interruptible()
        from asa.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(Cancelled.exit_code)


if __name__ == "__main__":
    main()
