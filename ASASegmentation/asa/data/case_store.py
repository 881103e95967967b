"""Store of labelled cases: memory-mapped arrays in the brain frame, and an index.

index.json             data set, modalities, cases
images/<case>.npy      (C, T, H, W) float16, normalised as at use, over the whole brain frame
labels/<case>.npy      (T, H, W) uint8, values of the task
foreground/<case>.npy  (N, 4) int16: label, t, h, w of up to 2000 voxels of each label
records/<case>.json    what is known of one case, and the files that it was made from; index.json is made of these
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.data.cases import IGNORED, Dataset, LabelledCase, load_dataset, raise_problems
from asa.data.datasets import dataset_by_name
from asa.data.scan_store import check_settings, map_array, protect_store, record_path
from asa.data.sources import changed_sources, describe_sources, read_sources, read_values, write_record
from asa.errors import AsaError, InputError
from asa.files import atomic_path, read_json, write_json
from asa.geometry import FRAME, Alignment, align_to_frame, centre_box, centre_crop_grid, resample
from asa.preprocessing.normalise import brain_input, zscore
from asa.volume import Grid, read_scan, read_volume, standardise
from asa.volume.masks import fill_holes

FORMAT = 3  # 2: cases say where they come from and how they lie; 3: scans are standardised first
INDEX = "index.json"
KINDS = ("images", "labels", "foreground")
KEPT_VOXELS = 2000  # of each label, to centre crops on
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class StoredCase:
    """One prepared case.

    Attributes:
        name, subject: as in the data set.
        voxels: label value -> voxels in the brain frame.
        alignment: agreement with the atlas, 0 to 1.
        cut: share of the labelled voxels that lie outside the brain frame.
        warnings: reasons to review it; empty for most.
        matrix: 4x4, world of the brain frame -> world of the scan; empty in stores of format 1.
        source: file of the first modality, whose grid predictions are written on.
    """

    name: str
    subject: str
    voxels: Mapping[str, int]
    alignment: float
    cut: float
    warnings: tuple[str, ...] = ()
    matrix: tuple[tuple[float, ...], ...] = ()
    source: str = ""

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> StoredCase:
        """Inverse of ``dataclasses.asdict`` after JSON made lists of tuples."""
        rows = tuple(tuple(row) for row in values.get("matrix", ()))
        return StoredCase(**{**values, "warnings": tuple(values["warnings"]), "matrix": rows})


@dataclass(frozen=True)
class CaseStore:
    """Reads a store; arrays are memory-mapped.

    ``stripped``: its images show, and were normalised within, the brain; ``corrected``: after N4 bias correction;
    ``standardised``: of scans whose background was found first (since format 3).
    """

    folder: Path
    dataset: Dataset
    modalities: tuple[str, ...]
    cases: tuple[StoredCase, ...]
    shape: Shape
    stripped: bool = False
    corrected: bool = False
    standardised: bool = False

    @staticmethod
    def open(folder: Path) -> CaseStore:
        """Read the index.

        Raises:
            InputError: no store there, of a newer version, or damaged.
        """
        path = folder / INDEX
        try:
            index = read_json(path)
            if index["format"] > FORMAT:
                raise InputError(f"{folder} was written by a newer version of ASA. Update ASA to use it.")
            cases = tuple(StoredCase.from_json(values) for values in index["cases"])
            t, h, w = index["shape"]
            dataset = dataset_by_name(index["dataset"])
            how = [bool(index.get(key, False)) for key in ("stripped", "corrected", "standardised")]
            return CaseStore(folder, dataset, tuple(index["modalities"]), cases, (t, h, w), *how)
        except FileNotFoundError:
            raise InputError(f"{folder} is not a case store; create one with 'asa prepare finetune'.") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error

    def numbers(self, names: Sequence[str]) -> list[int]:
        """Return the positions of these cases in the store."""
        place = {case.name: number for number, case in enumerate(self.cases)}
        return [place[name] for name in names]

    def read(self, number: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
        """Return the image (C, T, H, W) and labels (T, H, W) of a case, memory-mapped.

        Raises:
            InputError: a file vanished or is damaged.
        """
        image, labels = self._map("images", number), self._map("labels", number)
        if image.shape != (len(self.modalities), *self.shape) or labels.shape != self.shape:
            name = self.cases[number].name
            raise InputError(f"Case '{name}' of {self.folder} has the wrong shape {image.shape}; prepare it again.")
        return image, labels

    def sources(self) -> list[Path]:
        """Return every file that the cases were made from, as far as the store knows."""
        files = {case.source for case in self.cases if case.source}
        for case in self.cases:
            files |= {source.path for source in read_sources(record_path(self.folder, case.name)).values()}
        return [Path(file) for file in sorted(files)]

    def alignment(self, number: int) -> Alignment:
        """Return the alignment of a case with the brain frame.

        Raises:
            InputError: the store was written before this was kept.
        """
        case = self.cases[number]
        if not case.matrix:
            raise InputError(
                f"{self.folder} does not record the position of '{case.name}' in its scan; prepare it again."
            )
        return Alignment(np.array(case.matrix), "affine", case.alignment)

    def foreground(self, number: int) -> npt.NDArray[np.int16]:
        """Label, t, h, w of some voxels of each label, (N, 4)."""
        voxels: npt.NDArray[np.int16] = self._map("foreground", number)
        return voxels

    def fingerprint(self) -> dict[str, Any]:
        """What run.yaml says about the data."""
        voxels: dict[str, int] = {}
        for case in self.cases:
            for label, count in case.voxels.items():
                voxels[label] = voxels.get(label, 0) + count
        found = {"dataset": self.dataset.name, "modalities": list(self.modalities), "cases": len(self.cases)}
        return {
            **found,
            "stripped": self.stripped,
            "corrected": self.corrected,
            "standardised": self.standardised,
            "voxels": voxels,
        }

    def _map(self, kind: str, number: int) -> npt.NDArray[Any]:
        path = array_path(self.folder, kind, self.cases[number].name)
        try:
            return map_array(path)
        except (OSError, ValueError) as error:
            raise InputError(f"Case '{self.cases[number].name}' can no longer be read: {error}") from error


def array_path(folder: Path, kind: str, name: str) -> Path:
    """Return the path of an array of a case."""
    return folder / kind / f"{name}.npy"


def prepare_cases(
    dataset: Dataset,
    root: Path,
    folder: Path,
    *,
    modalities: Sequence[str] = (),
    shape: Shape = FRAME.shape,
    align: bool = True,
    stripped: bool = False,
    corrected: bool = False,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> CaseStore:
    """Check every case of a data set, bring it into the brain frame and store it.

    A case that is stored already stays, unless an image or its label map has changed since, or an array is damaged.

    Args:
        modalities: channels, in this order; if empty those of the data set that every case has. One that is optional
            in the data set may be missing in a case, whose channel is 0 then.
        shape: voxels (T, H, W) that are kept around the centre of the brain frame.
        align: False trusts the images to lie in MNI152 space.
        stripped: the images show the brain only; the rim that resampling makes around it is set to 0 again.
        corrected: the bias field of a stripped brain is corrected; noted, so that a model made from the store does so
            at use.
        progress: called with cases done, cases in all, and the name; for a case that was stored already and had to be
            prepared again, with the reason.

    Raises:
        InputError: one error that lists all offenders; or the store was begun with other settings.
        OutputError: no room or no permission, or files in the folder that are of no store.
    """
    needed = [key for key in modalities if key not in dataset.optional]
    cases = load_dataset(dataset, root, needed)
    channels = tuple(modalities) or dataset.channels(cases)
    settings = {"dataset": dataset.name, "modalities": list(channels), "shape": list(shape), "align": align}
    settings["standardised"] = True
    if stripped:
        settings["stripped"] = True
    if corrected:
        settings["corrected"] = True
    if tuple(shape) != FRAME.shape:  # a store begun when crops were normalised by themselves is not continued
        settings["normalised"] = "whole frame"
    protect_store(folder, [folder / INDEX, *(file for case in cases for file in _files(folder, case.name))])
    check_settings(folder, settings)
    done: list[StoredCase] = []
    problems: list[str] = []
    for number, case in enumerate(cases, start=1):
        record, said = record_path(folder, case.name), case.name
        try:
            reason = _out_of_date(case, folder, channels, shape)
            if reason or not record.exists():
                grid = centre_crop_grid(shape)
                sources = describe_sources(_sources(case, channels))
                record.unlink(missing_ok=True)  # a case with a record is whole
                stored = _prepare(
                    case, dataset, folder, channels, grid, align=align, stripped=stripped, corrected=corrected
                )
                write_record(record, dataclasses.asdict(stored), sources)
                said += f": prepared again, because {reason}" if reason else ""
            done.append(StoredCase.from_json(read_values(record)))
        except InputError as error:
            problems.append(f"{case.name}: {error}")
        progress(number, len(cases), said)
    raise_problems(problems, dataset.title)
    write_json(folder / INDEX, {"format": FORMAT, **settings, "cases": [dataclasses.asdict(case) for case in done]})
    return CaseStore(folder, dataset, channels, tuple(done), shape, stripped, corrected, True)


def _sources(case: LabelledCase, modalities: Sequence[str]) -> dict[str, Path]:
    """Role -> file, of what a stored case is made from."""
    labels = {} if case.labels is None else {"labels": case.labels}
    return {**{key: case.images[key] for key in modalities if key in case.images}, **labels}


def _files(folder: Path, name: str) -> list[Path]:
    """Return the files of one case in a store."""
    return [record_path(folder, name), *(array_path(folder, kind, name) for kind in KINDS)]


def _out_of_date(case: LabelledCase, folder: Path, modalities: Sequence[str], shape: Shape) -> str:
    """Return why a stored case must be prepared again, as a clause; "" if it need not, or is not stored."""
    record = record_path(folder, case.name)
    if not record.exists():
        return ""
    try:
        StoredCase.from_json(read_values(record))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its record is damaged"
    if changed := changed_sources(_sources(case, modalities), record):
        return f"{', '.join(changed)} changed"
    for kind, wanted in (("images", (len(modalities), *shape)), ("labels", shape), ("foreground", None)):
        try:
            array = map_array(array_path(folder, kind, case.name))
        except (OSError, ValueError):
            return f"its stored {kind} are damaged"
        if wanted is not None and array.shape != wanted:
            return f"its stored {kind} have the wrong shape"
    return ""


def _prepare(
    case: LabelledCase,
    dataset: Dataset,
    folder: Path,
    modalities: Sequence[str],
    grid: Grid,
    *,
    align: bool,
    stripped: bool,
    corrected: bool,
) -> StoredCase:
    """Bring one case onto ``grid`` of the brain frame and write its arrays; the first modality decides how it lies."""
    if case.labels is None:
        raise AsaError(f"{case.name} was not checked: it has no label map.")
    scans = {key: read_scan(case.images[key]) for key in modalities if key in case.images}
    first = next(iter(scans.values()))
    alignment = align_to_frame(first) if align else Alignment(np.eye(4), "identity", 1.0)
    truth = read_volume(case.labels, labels=True)
    # as at use: normalised over the whole frame, whatever is kept of it
    standard = {key: standardise(scan) for key, scan in scans.items()}
    framed = {key: resample(scan, FRAME, 1, alignment.matrix).array for key, (scan, _) in standard.items()}
    if stripped:
        # as at use: a voxel is brain where most of it is
        shown = np.any([mask for _, mask in standard.values()], axis=0).astype(np.float32)
        brain = fill_holes(resample(first.with_array(shown), FRAME, 1, alignment.matrix).array > 0.5)
        seen = {key: brain_input(one, brain, corrects=corrected) for key, one in framed.items()}
    else:
        seen = {key: zscore(one) for key, one in framed.items()}
    box = centre_box(grid.shape)
    missing = np.zeros(grid.shape, np.float32)
    image = np.stack([seen[key][box] if key in seen else missing for key in modalities]).astype(np.float16)
    known = dataset.to_task(truth.array)
    known[known == IGNORED] = 0
    if dataset.header_mm:  # the voxels correspond, whatever the header of the labels says
        truth = first
    labels = resample(truth.with_array(known), grid, 0, alignment.matrix).array
    values = [int(value) for value in np.unique(labels) if value]
    rng = np.random.default_rng(0)
    voxels, kept = {}, []
    for value in values:
        places = np.argwhere(labels == value)
        voxels[str(value)] = len(places)
        chosen = places if len(places) <= KEPT_VOXELS else rng.choice(places, KEPT_VOXELS, replace=False)
        kept.append(np.insert(chosen, 0, value, axis=1).astype(np.int16))
    volume_mm3 = np.count_nonzero(known) * truth.grid.voxel_volume_ml * 1000
    scaled = volume_mm3 / alignment.volume_scale
    foreground = np.concatenate(kept) if kept else np.zeros((0, 4), np.int16)
    arrays: dict[str, npt.NDArray[Any]] = {"images": image, "labels": labels, "foreground": foreground}
    for kind, array in arrays.items():
        with atomic_path(array_path(folder, kind, case.name)) as temporary:
            np.save(temporary, array, allow_pickle=False)
    cut = max(0.0, 1 - sum(voxels.values()) / scaled) if scaled else 0.0
    return StoredCase(
        case.name,
        case.subject,
        voxels,
        round(alignment.quality, 4),
        round(cut, 3),
        alignment.warnings,
        tuple(tuple(float(value) for value in row) for row in alignment.matrix),
        str(case.images[next(iter(scans))].resolve()),
    )
