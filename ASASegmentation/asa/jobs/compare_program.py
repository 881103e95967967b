"""The program that 3D Slicer starts to compare two visits: a request in a file, its progress as events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from asa.jobs.compare import CompareRequest, compare
from asa.jobs.segment import report_done
from asa.program import Reporter, run_request
from asa.request import read_request


def main(arguments: list[str] | None = None) -> int:
    """Run the request in a file: what :class:`asa.request.SegmentRequest` holds, ``earlier`` (images) and ``output``.

    Args:
        arguments: the command line, one file name; None for that of the process.

    Returns:
        The exit code.
    """

    def work(reporter: Reporter, path: Path) -> None:
        settings, (folder, earlier) = read_request(path, _take)
        request = CompareRequest(earlier, settings.images, settings)
        report_done(reporter, compare(request, folder, overwrite=True, progress=reporter.progress))

    return run_request("asa.jobs.compare_program", work, arguments)


def _take(fields: dict[str, Any]) -> tuple[Path, dict[str, Path]]:
    return Path(fields.pop("output")), {str(key): Path(image) for key, image in fields.pop("earlier").items()}


if __name__ == "__main__":
    sys.exit(main())
