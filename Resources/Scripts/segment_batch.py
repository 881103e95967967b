"""Segment many scans without a window, in 3D Slicer or with any Python that has asa installed.

    Slicer --no-main-window --python-script segment_batch.py -- --input A.nii.gz SERIES_FOLDER --output RESULTS
    python segment_batch.py --input A.nii.gz SERIES_FOLDER --output RESULTS

An input is an image (NIfTI, NRRD, MGZ), a folder of images, a BIDS folder, or a folder of DICOM files, in which the
series that the model needs are identified by their tags. Each head gets a folder in RESULTS; existing results of the
same images, model and settings are kept. RESULTS/summary.json lists the outcome of each head.

Exit code: 0 if all heads were segmented, 1 if some failed, that of the error if none could be started, 130 after Ctrl-C
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
    from asa import batch, job, program
    from asa.errors import AsaError, Cancelled, InputError, ResourceError
    from asa.files import protect_inputs
    from asa.modalities.matching import Candidate, propose
    from asa.models import find_model
    from asa.request import ALIGNMENTS, REORIENTATIONS, SegmentRequest
    from asa.tasks import TASKS, Modality
except ImportError as error:
    if __name__ != "__main__":
        raise
    _NOT_FOUND = str(error.name)

# DICOM tags that distinguish series and patients, by keyword.
_TAGS = {
    "SeriesDescription": "0008|103e",
    "ContrastBolusAgent": "0018|0010",
    "RepetitionTime": "0018|0080",
    "EchoTime": "0018|0081",
    "InversionTime": "0018|0082",
    "PatientID": "0010|0020",
}
_CONVERTED = "converted"

Series = dict[str, list[str]]


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
        help="auto: accept the orientation found in the image where the header contradicts it; off: call it doubtful",
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
    parser.add_argument("--threads", type=int, help="CPU threads; all by default")
    parser.add_argument("--overwrite", action="store_true", help="overwrite existing results")
    words = list(sys.argv[1:] if given is None else given)
    if "--" in words:  # Slicer may leave part of its command line
        words = words[words.index("--") + 1 :]
    return parser.parse_args(words)


def find_cases(inputs: Sequence[Path], modalities: Sequence[Modality]) -> tuple[list[batch.Case], dict[str, Series]]:
    """Find the heads of all inputs.

    DICOM series are converted one head at a time, so that a folder that cannot be converted fails alone.

    Args:
        inputs: images and folders.
        modalities: those of the model.

    Returns:
        The cases, and the DICOM series of those that have no images yet, by name.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    series = {path: found for path in inputs if path.is_dir() and (found := dicom_series(path))}
    images = [path for path in inputs if path not in series]
    cases = batch.find_cases(images, modalities) if images else []
    # Folders of many patients have one name: .../anna/DICOM, .../bert/DICOM.
    found = [(path.resolve().name, {"": path}) for path in series] + [(case.name, case.images) for case in cases]
    names = batch.distinct(found)
    cases = [batch.Case(name, {}) for name in names[: len(series)]] + [
        replace(case, name=name) for case, name in zip(cases, names[len(series) :], strict=True)
    ]
    return cases, dict(zip(names, series.values(), strict=False))


def dicom_series(folder: Path) -> Series:
    """Return the DICOM series in a folder: series UID -> its files in order."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageSeriesReader
    uids = reader.GetGDCMSeriesIDs(str(folder))
    return {uid: list(reader.GetGDCMSeriesFileNames(str(folder), uid)) for uid in uids}


def convert(name: str, series: Series, folder: Path, modalities: Sequence[Modality]) -> dict[str, Path]:
    """Convert the DICOM series that a model needs to NIfTI.

    Args:
        name: of the head.
        series: series UID -> files.
        folder: where the images are written.
        modalities: those of the model.

    Returns:
        Modality key -> file.

    Raises:
        InputError: no series fits a required modality, or the series are from different patients.
    """
    import SimpleITK

    candidates = [Candidate(uid, "", series_tags(files[0])) for uid, files in series.items()]
    required = [modality for modality in modalities if modality.required]
    chosen = propose(candidates, [m.key for m in modalities], [m.key for m in required])
    missing = [modality.title for modality in required if modality.key not in chosen]
    if missing or not chosen:
        absent = " and no ".join(missing) or " or ".join(modality.title for modality in modalities)
        raise InputError(f"Among the {len(series)} DICOM series of {name} there is no {absent}.")
    tags = {candidate.id: candidate.tags for candidate in candidates}
    if len({tags[uid].get("PatientID") for uid in chosen.values()}) > 1:
        raise InputError(f"The DICOM series of {name} are from different patients; use one folder per patient.")
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for key, uid in chosen.items():
        images[key] = folder / f"{name}_{key}.nii"
        SimpleITK.WriteImage(SimpleITK.ReadImage(series[uid]), str(images[key]))
    return images


def series_tags(file: str) -> dict[str, str]:
    """Return the tags of a file that identify its sequence, by keyword."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return {word: reader.GetMetaData(tag).strip() for word, tag in _TAGS.items() if reader.HasMetaDataKey(tag)}


def main(given: Sequence[str] | None = None) -> int:
    """Run the script and return the exit code."""
    options = arguments(given)
    try:
        importlib.import_module("asa.inference")  # here, so that it is reported once and not per head
    except ImportError as error:
        advice = "In Slicer, segment one head in the module ASA Brain Segmentation: it installs the missing packages."
        print(f"Error: The package {error.name} is not installed. {advice}", file=sys.stderr)
        return ResourceError.exit_code
    try:
        model = find_model(options.model, options.task)
        by_key = {modality.key: modality for modality in TASKS[options.task].modalities}
        used = [replace(by_key[key], required=key in model.required) for key in model.modalities]
        cases, series = find_cases(options.input, used)
        scans = [path for case in cases for path in case.images.values()]
        scans += [Path(file) for found in series.values() for files in found.values() for file in files]
        folders = [options.output / case.name for case in cases]
        job.protect_images(scans, folders, options.task, posterior=options.posterior)
        converted = [options.output / _CONVERTED / f"{name}_{key}.nii" for name in series for key in by_key]
        protect_inputs(scans, converted)
        batch.protect_summary(options.output / batch.SUMMARY)
    except AsaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code

    fields = {field.name for field in dataclasses.fields(SegmentRequest)}
    request = SegmentRequest({}, **{name: value for name, value in vars(options).items() if name in fields})

    def run(case: batch.Case) -> job.Finished:
        images = case.images or convert(case.name, series[case.name], options.output / _CONVERTED, used)
        return job.run(replace(request, images=images), options.output / case.name, overwrite=options.overwrite)

    outcomes = []
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
