"""Segments many scans without a window, in 3D Slicer or with any Python that has asa installed.

    Slicer --no-main-window --python-script segment_batch.py -- --input A.nii.gz SERIES_FOLDER --output RESULTS
    python segment_batch.py --input A.nii.gz SERIES_FOLDER --output RESULTS

An input is an image (NIfTI, NRRD, MGZ), a folder of images, a BIDS folder or a folder of DICOM files, of which the
series that the model needs are found by their tags. Each head gets a folder in RESULTS; what is there already for the
same image, model and settings is not done again. RESULTS/summary.json says what became of each head.

Exit code: 0 when all heads were segmented, 1 when some failed, that of the error when none could be begun, 130 after
Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

_NOT_FOUND = ""  # the module that is missing
try:
    from asa import batch, job, program
    from asa.errors import AsaError, Cancelled, InputError, ResourceError
    from asa.files import protect_inputs
    from asa.models import find_model
    from asa.request import ALIGNMENTS, SegmentRequest
    from asa.tasks import TASKS, Modality
    from ASASlicerLib.proposal.matching import Candidate, propose
except ImportError as error:
    if __name__ != "__main__":
        raise
    _NOT_FOUND = str(error.name)

# DICOM tags that tell series apart, and patients, by keyword.
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


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", type=Path, required=True, metavar="PATH", help="images or folders")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder for the results")
    parser.add_argument("--task", choices=list(TASKS), default="tissue", help="what to segment")
    parser.add_argument("--model", help="name of a model or its folder; the task's own if not given")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument("--align", choices=ALIGNMENTS, default="auto", help="none: the scans are in MNI152 space")
    parser.add_argument(
        "--tta",
        action=argparse.BooleanOptionalAction,
        help="test-time augmentation (left-right flip), which takes twice the time; default: the model's setting",
    )
    parser.add_argument("--threshold", type=float, help="probability from which a voxel is labelled; lower finds more")
    parser.add_argument("--posterior", action="store_true", help="write probabilities and uncertainty too")
    parser.add_argument("--threads", type=int, help="processor threads; all if not given")
    parser.add_argument("--overwrite", action="store_true", help="do again what is done already")
    words = list(sys.argv[1:] if given is None else given)
    if "--" in words:  # what Slicer may leave of its own command line
        words = words[words.index("--") + 1 :]
    return parser.parse_args(words)


def find_cases(inputs: Sequence[Path], modalities: Sequence[Modality]) -> tuple[list[batch.Case], dict[str, Series]]:
    """The heads of all inputs, and the DICOM series of those that have no image yet, by name. Raises InputError.

    They are converted when their turn comes, so that one folder that cannot be costs no other head.
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
    """Series UID -> its files in order, of the DICOM series in a folder."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageSeriesReader
    uids = reader.GetGDCMSeriesIDs(str(folder))
    return {uid: list(reader.GetGDCMSeriesFileNames(str(folder), uid)) for uid in uids}


def convert(name: str, series: Series, folder: Path, modalities: Sequence[Modality]) -> dict[str, Path]:
    """Writes the series that are the model's inputs as NIfTI; modality key -> file. Raises InputError."""
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
    """What the first file of a series says about the sequence, by keyword."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return {word: reader.GetMetaData(tag).strip() for word, tag in _TAGS.items() if reader.HasMetaDataKey(tag)}


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    try:
        importlib.import_module("asa.inference")  # else each head would fail for it
    except ImportError as error:
        advice = "In Slicer, segment one head in the module ASA Brain Segmentation: it installs what is needed."
        print(f"Error: the package {error.name} is not installed. {advice}", file=sys.stderr)
        return ResourceError.exit_code
    try:
        model = find_model(options.model, options.task)
        by_key = {modality.key: modality for modality in TASKS[options.task].modalities}
        seen = [replace(by_key[key], required=key in model.required) for key in model.modalities]
        cases, series = find_cases(options.input, seen)
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
        images = case.images or convert(case.name, series[case.name], options.output / _CONVERTED, seen)
        return job.run(replace(request, images=images), options.output / case.name, overwrite=options.overwrite)

    outcomes = []
    program.interruptible()
    try:
        for outcome in batch.run_cases(cases, run):
            outcomes.append(outcome)
            said = str(outcome.error) if outcome.error else f"{outcome.seconds:.0f} s"
            said = " ".join([said, *(outcome.finished.notes if outcome.finished else ())])
            print(f"[{len(outcomes)}/{len(cases)}] {outcome.case.name}: {outcome.status}, {said}", flush=True)
        batch.write_summary(options.output / batch.SUMMARY, outcomes)
    except KeyboardInterrupt:
        print("Error: Cancelled.", file=sys.stderr)
        return Cancelled.exit_code
    except AsaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return int(any(outcome.status == "failed" for outcome in outcomes))


def leave(code: int) -> None:
    """Ends the program; inside Slicer, the application."""
    slicer = sys.modules.get("slicer")
    if hasattr(slicer, "app"):
        slicer.util.exit(code)
    else:
        sys.exit(code)


def guarded_main() -> int:
    """Exit code of the program. Whatever goes wrong, Slicer is not left open without a window."""
    if _NOT_FOUND:
        advice = "In Slicer, add the folder ASASegmentation to the additional module paths; elsewhere, install asa."
        print(f"Error: {_NOT_FOUND} cannot be imported. {advice}", file=sys.stderr)
        return 1
    try:
        return main()
    except SystemExit as end:  # wrong options, or --help
        return end.code if isinstance(end.code, int) else 0
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    leave(guarded_main())
