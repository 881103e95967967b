"""Segment many scans without a window, in 3D Slicer or with any Python that has asa installed.

    Slicer --no-main-window --python-script segment_batch.py -- --input A.nii.gz DICOM_FOLDER --output RESULTS
    python segment_batch.py --input A.nii.gz DICOM_FOLDER --output RESULTS

An input is an image (NIfTI, NRRD, MGZ), a folder of images, a BIDS folder, or a folder of DICOM files of one patient,
in which the series that the model needs are identified by their tags. Each head gets a folder in RESULTS; existing
results of the same images, model and settings are kept. RESULTS/summary.json lists the outcome of each head,
volumes.tsv the volumes of all.

Exit code: 0 if all cases were segmented, 1 if some failed, that of the error if none could be started, 130 after Ctrl-C
or SIGTERM.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

_NOT_FOUND = ""  # the module that is missing
try:
    from asa import program
    from asa.cohort import batch
    from asa.errors import AsaError, Cancelled, ResourceError
    from asa.jobs import segment as job
    from asa.models import find_model
    from asa.request import ALIGNMENTS, EXTRAS, REORIENTATIONS, SegmentRequest, parse_extras
    from asa.tasks import TASKS
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
    """Parse the command line; None for that of the process."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", type=Path, required=True, metavar="PATH", help="images or folders")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="result folder")
    parser.add_argument("--task", choices=list(TASKS), default="tissue", help="what to segment")
    parser.add_argument("--model", help="name or folder of a model; default: that of the task")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument("--align", choices=ALIGNMENTS, default="auto", help="none: scans already in MNI152 space")
    parser.add_argument(
        "--reorient",
        choices=REORIENTATIONS,
        default="off",
        help="auto: accept the orientation found in the image if the header contradicts it; off: mark it as doubtful",
    )
    parser.add_argument("--strict", action="store_true", help="refuse images that would give a doubtful result")
    parser.add_argument(
        "--tta",
        action=argparse.BooleanOptionalAction,
        help="test-time augmentation (left-right flip), which takes twice the time; default: the model's setting",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="minimum probability of a labelled voxel; lower values label more; default: the model's",
    )
    parser.add_argument("--posterior", action="store_true", help="also write probabilities and uncertainty")
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="[KEY=]WHICH",
        help="DICOM series to use if the tags are not conclusive: its number, its UID, or part of its description",
    )
    parser.add_argument("--threads", type=int, help="CPU threads; all by default")
    parser.add_argument(
        "--also", action="append", default=[], metavar="WHAT", help=f"further outputs: {', '.join(EXTRAS)}"
    )
    parser.add_argument("--overwrite", action="store_true", help="overwrite existing results")
    words = list(sys.argv[1:] if given is None else given)
    if "--" in words:  # Slicer may leave part of its command line
        words = words[words.index("--") + 1 :]
    return parser.parse_args(words)


def main(given: Sequence[str] | None = None) -> int:
    """Run the script and return the exit code."""
    options = arguments(given)
    try:
        importlib.import_module("asa.inference")  # here, so that it is reported once and not per head
    except ImportError as error:
        advice = "In Slicer, segment one scan in the module ASA Brain Segmentation: it installs the missing packages."
        print(f"Error: The package {error.name} is not installed. {advice}", file=sys.stderr)
        return ResourceError.exit_code
    try:
        model = find_model(options.model, options.task)
        by_key = {modality.key: modality for modality in TASKS[options.task].modalities}
        used = [replace(by_key[key], required=key in model.required) for key in model.modalities]
        keys = sorted(model.modalities, key=lambda key: key not in model.required)
        cases = batch.find_cases(options.input, used, batch.parse_choices(options.series, keys))
        scans = [path for case in cases for path in case.images.values()]
        folders = [options.output / case.name for case in cases]
        options.also = parse_extras(options.also)
        extra = [name for key in options.also for name in EXTRAS[key]]
        job.protect_images(scans, folders, options.task, posterior=options.posterior, others=extra)
        batch.protect_summary(options.output / batch.SUMMARY)
    except AsaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code

    fields = {field.name for field in dataclasses.fields(SegmentRequest)}
    request = SegmentRequest({}, **{name: value for name, value in vars(options).items() if name in fields})

    def run(case: batch.Case) -> job.Finished:
        return job.run(
            replace(request, images=case.usable_images()), options.output / case.name, overwrite=options.overwrite
        )

    outcomes = []
    for case in cases:
        for note in case.notes:
            print(f"{case.name}: {note}.", flush=True)
    program.interruptible()
    try:
        for outcome in batch.run_cases(cases, run):
            outcomes.append(outcome)
            remarks = [str(outcome.error) if outcome.error else f"{outcome.seconds:.0f} s"]
            remarks += outcome.finished.notes if outcome.finished else ()
            line = f"[{len(outcomes)}/{len(cases)}] {outcome.case.name}: {outcome.status}, {' '.join(remarks)}"
            print(line, flush=True)
        batch.write_summary(options.output / batch.SUMMARY, outcomes)
    except KeyboardInterrupt:
        print("Error: Cancelled.", file=sys.stderr)
        return Cancelled.exit_code
    except AsaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return int(any(outcome.status == "failed" for outcome in outcomes))


if __name__ == "__main__":
    if _NOT_FOUND:
        leave_without_engine()
    else:
        program.run_script(main)
