"""The program that 3D Slicer starts to compare two visits: a request in a file, its progress as events."""

from __future__ import annotations

import sys
from pathlib import Path

from asa import events
from asa.compare_job import CompareRequest, compare
from asa.errors import InputError
from asa.files import read_json
from asa.job import report_done
from asa.program import Reporter, reported, use_one_blas_thread
from asa.request import SegmentRequest


def main(arguments: list[str] | None = None) -> int:
    """Run the request in a file: what :class:`asa.request.SegmentRequest` holds, ``earlier`` (images) and ``output``.

    Args:
        arguments: the command line, one file name; None for that of the process.

    Returns:
        The exit code.
    """
    use_one_blas_thread()
    words = sys.argv[1:] if arguments is None else arguments

    def work(reporter: Reporter) -> None:
        if len(words) != 1:
            raise InputError("Name one request file: python -m asa.compare_program request.json.")
        request, folder = _read_request(Path(words[0]))
        finished = compare(request, folder, overwrite=True, progress=reporter.progress)
        for warning in finished.warnings:
            reporter.send(events.Warned(warning))
        report_done(reporter, finished)

    return reported(work)


def _read_request(path: Path) -> tuple[CompareRequest, Path]:
    try:
        fields = read_json(path)
        folder = Path(fields.pop("output"))
        earlier = {str(key): Path(image) for key, image in fields.pop("earlier").items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"The request {path} cannot be read: {error}.") from error
    settings = SegmentRequest.from_json(fields, f"the request {path}")
    return CompareRequest(earlier, settings.images, settings), folder


if __name__ == "__main__":
    sys.exit(main())
