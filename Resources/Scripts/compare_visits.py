"""Compare two visits of one patient without a window, in 3D Slicer or with any Python that has asa installed.

    Slicer --no-main-window --python-script compare_visits.py -- --t1 VISIT1 VISIT2 --output FOLDER
    python compare_visits.py --task wmh --flair VISIT1 VISIT2 --t1 VISIT1 VISIT2 --output FOLDER

The earlier visit comes first. The same as `asa compare`, for Pythons without its command-line library.

Exit code: 0, that of the error, or 130 after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_NOT_FOUND = ""  # the module that is missing
try:
    from asa.errors import AsaError
    from asa.interrupts import interruptible
    from asa.jobs.compare import CompareRequest, compare
    from asa.program import explain, run_script
    from asa.request import SegmentRequest
    from asa.tasks import TASKS, TITLES
except ImportError as error:
    if __name__ != "__main__":
        raise
    _NOT_FOUND = str(error.name)


def leave_without_engine() -> None:
    """Say what is missing, and end the program; inside Slicer, the application.

    Each script has its own, because there is no engine to import it from.
    """
    advice = "In Slicer, add the folder ASASegmentation to the additional module paths; elsewhere, install asa."
    print(f"Error: {_NOT_FOUND} cannot be imported. {advice}", file=sys.stderr)
    slicer = sys.modules.get("slicer")
    (slicer.util.exit if hasattr(slicer, "app") else sys.exit)(1)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="result folder")
    parser.add_argument("--task", choices=list(TASKS), default="tissue")
    parser.add_argument("--model", metavar="NAME", help="name or folder of a model")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result")
    for key, title in TITLES.items():
        parser.add_argument(f"--{key}", type=Path, nargs=2, metavar="FILE", help=f"{title} of both visits")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Compare two visits and return the exit code."""
    chosen = arguments(given)
    pairs = {key: pair for key in TITLES if (pair := getattr(chosen, key)) is not None}
    visits = [{key: pair[number] for key, pair in pairs.items()} for number in (0, 1)]
    interruptible()
    try:
        settings = SegmentRequest({}, task=chosen.task, model=chosen.model, device=chosen.device)
        request = CompareRequest(visits[0], visits[1], settings)
        finished = compare(request, chosen.output, overwrite=chosen.overwrite)
    except (AsaError, ImportError) as error:
        print(f"Error: {explain(error)}", file=sys.stderr)
        return explain(error).exit_code
    for warning in finished.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    print(f"Results: {chosen.output.resolve()}")
    return 0


if __name__ == "__main__":
    if _NOT_FOUND:
        leave_without_engine()
    else:
        run_script(main)
