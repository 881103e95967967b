"""BIDS App: a data set in, a data set of derivatives out; one result per session, and one table of all.

Each session has a result folder ``asa/<session>`` in the derivatives, as ``asa segment`` writes it; the files that BIDS
asks for are made from it. A result is finished before its files are placed, and they are placed one by one under their
final names, so that a run that was killed is completed by the next one.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asa import __version__
from asa.cohort import bids
from asa.cohort.bids import Case
from asa.errors import InputError, OutputError
from asa.files import read_json, write_json, write_text
from asa.jobs.segment import LABEL_MAP, Finished, Segment, posterior_name
from asa.jobs.segment import run as run_job
from asa.request import SegmentRequest
from asa.tasks import TASKS, Modality, Task

if TYPE_CHECKING:
    from asa.inference import SegmentResult
    from asa.volume import Volume

# What BIDS calls the space of the brain frame: the symmetric ICBM template of 2009 that its atlas was made from.
SPACE = "MNI152NLin2009aSym"
RESULTS, DESCRIPTION, _NAME = "asa", "dataset_description.json", "ASA"
_BIDS_VERSION = "1.10.0"
_IGNORED = (RESULTS, "slurm", "summary.json", "volumes.tsv", "group_*", "*_xfm.*")


def check_tree(tree: Path, output: Path) -> None:
    """Reject an input that is not a BIDS data set, and an output that would be written into it.

    Raises:
        InputError: the folder does not exist or holds no subject.
        OutputError: the output is the data set itself.
    """
    if not tree.is_dir():
        raise InputError(f"The BIDS folder {tree} does not exist.")
    if not bids.is_tree(tree):
        raise InputError(f"{tree} is not a BIDS data set: it has neither {DESCRIPTION} nor folders called sub-….")
    if output.resolve() == tree.resolve():
        raise OutputError(f"The output would be written into the data set; give {tree / 'derivatives' / 'asa'}.")


def faults(tree: Path, cases: Iterable[Case]) -> Iterator[str]:
    """Yield a message for each violation of BIDS in a data set, with its consequence.

    Args:
        tree: the data set.
        cases: its sessions; the sidecars of their images are read.
    """
    if not (tree / DESCRIPTION).is_file():
        yield f"{tree} has no {DESCRIPTION}; the folder is read nevertheless."
    files = [tree / DESCRIPTION]
    files += [_sidecar(path) for case in cases for path in case.images.values()]
    for path in files:
        try:
            read_json(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            yield f"{path} is not valid JSON and was not used."


def misspelt(tree: Path, modalities: Sequence[Modality]) -> Iterator[str]:
    """Yield a sentence for each image that only lacks the right upper and lower case to be used."""
    suffixes = {modality.bids.rpartition("_")[2] for modality in modalities}
    by_lower = {suffix.lower(): suffix for suffix in suffixes}
    for place in ("sub-*/anat/*", "sub-*/ses-*/anat/*"):
        for path in sorted(path for path in tree.glob(place) if bids.is_named(path)):
            suffix = path.name.split(".")[0].rpartition("_")[2]
            if suffix not in suffixes and suffix.lower() in by_lower:
                right = by_lower[suffix.lower()]
                yield f"{path.relative_to(tree)} was not used: BIDS writes {right}, not {suffix}."


def select(cases: Sequence[Case], participants: Sequence[str], sessions: Sequence[str], tree: Path) -> list[Case]:
    """Return the sessions of the requested participants and session labels; all if none is requested.

    Args:
        cases: the sessions of the data set.
        participants: labels, with or without ``sub-``.
        sessions: labels, with or without ``ses-``.
        tree: the data set, for messages.

    Raises:
        InputError: a label does not exist.
    """
    chosen = [*cases]
    for what, key, labels in (("participant", "sub", participants), ("session", "ses", sessions)):
        wanted = {label.removeprefix(f"{key}-") for label in labels}
        known = sorted({label for case in chosen if (label := label_of(case.name, key))})
        if missing := sorted(wanted - {*known}):
            there = f"{path}" if (path := next(iter(tree.glob(f"{key}-{missing[0]}")), None)) else ""
            reason = "has no image that the model needs" if there else "does not exist"
            listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
            raise InputError(f"The {what} {missing[0]} {reason} in {tree}; there are: {listed or 'none'}.")
        chosen = [case for case in chosen if not wanted or label_of(case.name, key) in wanted]
    return chosen


def begin(output: Path, tree: Path, task: Task) -> None:
    """Write what describes the derivatives: dataset_description.json, dseg.tsv and .bidsignore.

    Args:
        output: the derivatives.
        tree: the data set that they are made from.
        task: what is segmented; a data set of derivatives holds one task.

    Raises:
        OutputError: the folder holds another data set, or derivatives of another task.
    """
    path = output / DESCRIPTION
    if path.exists():
        made = _made_for(path)
        if made is None:
            raise OutputError(f"{output} holds a data set that ASA did not write; choose another output folder.")
        if made != task.name:
            raise OutputError(
                f"{output} holds derivatives of the task '{made}'; choose another output folder for '{task.name}'."
            )
    try:
        raw = Path(os.path.relpath(tree, output)).as_posix()
    except ValueError:  # on Windows, where the two lie on different drives
        raw = tree.resolve().as_uri()
    links = {"raw": raw}
    described = {
        "Name": f"{task.title}, segmented by {_NAME}",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "See the source data set",
        "GeneratedBy": [
            {
                "Name": _NAME,
                "Version": __version__,
                "Description": f"Task {task.name}. Research use only; not a medical device.",
            }
        ],
        "DatasetLinks": links,
    }
    write_json(path, described)
    rows = ["index\tname\tabbreviation\tcolor"]
    for label in task.labels:
        red, green, blue = label.colour
        rows.append(f"{label.value}\t{label.title}\t{word(label.name)}\t#{red:02x}{green:02x}{blue:02x}")
    write_text(output / "dseg.tsv", "\n".join(rows) + "\n")
    readme = (
        f"{task.title}, segmented by {_NAME} {__version__}. Research use only; not a medical device.\n\n"
        f"The folder {RESULTS} holds the whole result of each session: report.json says whether to review it, and\n"
        "why, and overlay.png shows it. The images next to it are made from these results. dseg.tsv names the labels.\n"
    )
    write_text(output / "README", readme)
    write_text(output / ".bidsignore", "\n".join(_IGNORED) + "\n")


def segment_session(
    case: Case,
    *,
    request: SegmentRequest,
    output: Path,
    tree: Path,
    standard: bool = False,
    overwrite: bool = False,
    segment: Segment | None = None,
) -> Finished:
    """Segment one session and place its derivatives.

    Args:
        case: the session.
        request: the settings; its images are not used.
        output: the derivatives.
        tree: the data set, which the images are named relative to.
        standard: whether to write images and labels in MNI space, and the transform, too.
        overwrite: whether to replace an intact result.
        segment: as in :func:`asa.jobs.segment.run`.

    Raises:
        AsaError: see :func:`asa.jobs.segment.run`.
    """
    asked = replace(request, images=case.usable_images())
    results = output / RESULTS / case.name
    mask = _folder(output, case.name) / f"{case.name}_desc-brain_mask.nii.gz"
    brain: list[Volume] = []

    def engine(asked: SegmentRequest, progress: Any) -> SegmentResult:
        from asa.inference import segment as whole  # late: it imports torch

        result = (segment or whole)(asked, progress)
        brain.append(result.brain)
        return result

    finished = run_job(asked, results, overwrite=overwrite, segment=engine)
    if finished.reused and not mask.is_file() and segment is None:  # killed before it was placed
        finished = run_job(asked, results, overwrite=True, segment=engine)
    sources = {key: f"bids:raw:{_relative(path, tree)}" for key, path in case.images.items()}
    _place(case, finished, output, sources, brain[-1] if brain else None, standard)
    return finished


def _place(
    case: Case,
    finished: Finished,
    output: Path,
    sources: Mapping[str, str],
    brain: Volume | None,
    standard: bool,
) -> None:
    """Place the files of a finished result under their names in BIDS."""
    from asa.volume import write_volume

    task, report = TASKS[finished.report["task"]], finished.report
    folder = _folder(output, case.name)
    folder.mkdir(parents=True, exist_ok=True)
    stem, used = folder / case.name, [sources[key] for key in report["inputs"] if key in sources]
    native = {"Sources": used, "SpatialReference": sources[report["reference"]]}
    if brain is not None:
        path = Path(f"{stem}_desc-brain_mask.nii.gz")
        write_volume(brain, path)
        write_json(_sidecar(path), {"Description": "Brain", "Type": "Brain", **native})
    for label in task.labels:
        if (source := finished.folder / posterior_name(label)).is_file():
            path = Path(f"{stem}_label-{word(label.name)}_probseg.nii.gz")
            _link(source, path)
            write_json(_sidecar(path), {"Description": f"Probability of {label.title}", **native})
    if standard and not (finished.reused and Path(f"{stem}_space-{SPACE}_dseg.nii.gz").is_file()):
        _place_in_standard_space(case, finished, stem, sources)
    path = Path(f"{stem}_dseg.nii.gz")
    _link(finished.folder / LABEL_MAP, path)  # last: with it the session is complete
    write_json(_sidecar(path), {"Description": task.title, "Manual": False, **native})


def _place_in_standard_space(case: Case, finished: Finished, stem: Path, sources: Mapping[str, str]) -> None:
    """Write the images, the label map and the transform from the reference image to MNI space."""
    import numpy as np

    from asa.geometry import FRAME, Alignment, resample
    from asa.volume import Volume, read_scan, read_volume, write_volume

    report = finished.report
    modalities = {modality.key: modality for modality in TASKS[report["task"]].modalities}

    def aligned(key: str) -> Alignment:
        return Alignment(np.array(report["series"][key]["frame_to_scan"]), "affine", 1.0)

    def write(volume: Volume, order: int, key: str, name: str, **said: object) -> None:
        path = Path(f"{stem}_space-{SPACE}_{name}.nii.gz")
        write_volume(Volume(resample(volume, FRAME, order, aligned(key).matrix).array, FRAME), path)
        used = {"Sources": [sources[key]], "SpatialReference": SPACE, "Resolution": "1 mm"}
        write_json(_sidecar(path), {"Description": f"In the space {SPACE}, by an affine", **used, **said})

    for key in report["series"]:
        name = modalities[key].bids
        write(read_scan(case.images[key]), 1, key, name, SkullStripped=bool(report["series"][key]["stripped"]))
    reference = report["reference"]
    write(read_volume(finished.folder / LABEL_MAP, labels=True), 0, reference, "dseg", Manual=False)
    name = modalities[reference].bids.rpartition("_")[2]
    matrix = aligned(reference).matrix
    write_text(f"{stem}_from-{name}_to-{SPACE}_mode-image_xfm.tfm", itk_transform(matrix))


def itk_transform(matrix: Any) -> str:
    """Return an affine 4×4 in RAS mm as an ITK transform file, which is in LPS mm."""
    import numpy as np

    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ matrix @ flip
    numbers = " ".join(f"{value:.12g}" for value in (*lps[:3, :3].ravel(), *lps[:3, 3]))
    heading = "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
    return f"{heading}Parameters: {numbers}\nFixedParameters: 0 0 0\n"


def _made_for(path: Path) -> str | None:
    """Return the task in a description written by ASA; None for any other description."""
    try:
        generated = read_json(path)["GeneratedBy"][0]
        found = re.match(r"Task (\w+)\.", generated["Description"])
        return found.group(1) if generated["Name"] == _NAME and found else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def label_of(name: str, key: str) -> str:
    """Return the label of an entity in a name, as ``01`` of ``sub-01_ses-a`` for ``sub``; "" where it has none."""
    found = re.search(rf"(?:^|_){key}-([A-Za-z0-9]+)", name)
    return found.group(1) if found else ""


def word(name: str) -> str:
    """Return a name as a label of BIDS: letters and digits."""
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _folder(output: Path, name: str) -> Path:
    parts = [f"{key}-{label}" for key in ("sub", "ses") if (label := label_of(name, key))]
    return output.joinpath(*parts, "anat")


def _sidecar(image: Path) -> Path:
    return image.with_name(f"{image.name.removesuffix('.gz').rpartition('.')[0]}.json")


def _relative(path: Path, tree: Path) -> str:
    return Path(os.path.relpath(path, tree)).as_posix()


def _link(source: Path, target: Path) -> None:
    """Place a file under a second name: linked, where the file system can, or copied.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = target.with_name(f".{secrets.token_hex(4)}{target.name[-20:]}")
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"Cannot write {target}: {(error.strerror or str(error)).lower()}.") from error
    finally:
        temporary.unlink(missing_ok=True)
