"""Correct a segmentation with marks without a window, in 3D Slicer or in any Python that has asa installed.

    Slicer --no-main-window --python-script refine_marks.py -- RESULT --marks marks.json --output FOLDER --flair FLAIR
    python refine_marks.py RESULT --marks marks.json --output FOLDER --flair FLAIR

RESULT is a result folder of ASA, or a label map or .seg.nrrd (then with --task). Marks are in RAS mm; the reference of
the marks file describes them. The same as `asa refine`, for Pythons without its command-line library.

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
    from asa.jobs.refine import RefineRequest, refine
    from asa.program import run_script
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
    parser.add_argument("result", type=Path, help="result folder, label map or .seg.nrrd")
    parser.add_argument("--marks", type=Path, required=True, metavar="FILE", help="marks as JSON")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder for the corrected result")
    parser.add_argument("--task", choices=list(TASKS), help="of a segmentation that is not a result folder")
    parser.add_argument("--edited", type=Path, metavar="FILE", help="the segmentation with your manual edits")
    for key, title in TITLES.items():
        parser.add_argument(f"--{key}", type=Path, metavar="FILE", help=title)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Correct one segmentation and return the exit code."""
    chosen = arguments(given)
    images = {key: path for key in TITLES if (path := getattr(chosen, key)) is not None}
    interruptible()
    try:
        request = RefineRequest(chosen.result, chosen.marks, images, chosen.task, chosen.edited)
        finished = refine(request, chosen.output)
    except AsaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    for warning in finished.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    print(f"Results: {chosen.output.resolve()}")
    return 0


if __name__ == "__main__":
    if _NOT_FOUND:
        leave_without_engine()
    else:
        run_script(main)
