"""Store of prepared scans: one memory-mapped uint8 array per scan, and an index.

index.json            what is in it, and what failed and why
volumes/<scan>.npy    (T, H, W) uint8 on the grid that all scans of the store share; 0 is outside the brain
records/<scan>.json   what is known of one scan, and the files that it was made from; index.json is made of these
settings.json         how its scans were prepared
quality/              pictures and their HTML index
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.data.sources import Source, read_values, write_record
from asa.errors import InputError
from asa.files import atomic_path, protect_others, read_json, write_json

FORMAT = 1
INDEX, SETTINGS = "index.json", "settings.json"
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ScanRecord:
    """One prepared scan.

    Attributes:
        name: unique in the store; file name of its array.
        subject, session: as the source tree names them.
        source: path of the scan within that tree.
        alignment: agreement with the template, 0 to 1.
        stripping: overlap (Dice) of the brain mask with the template's brain, 0 to 1.
        brain_ml: volume of the brain mask in mL, in the brain frame.
        cut: share of the brain that lies outside the store's grid.
        seconds: time spent preparing it.
        warnings: reasons to review it; empty for most.
    """

    name: str
    subject: str
    session: str
    source: str
    alignment: float
    stripping: float
    brain_ml: float
    cut: float
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScanStore:
    """Reads a store; arrays are opened one at a time and never held.

    Attributes:
        shape: voxels (T, H, W) of every array, 1 mm.
        origin: where the grid starts in the brain frame, in voxels.
    """

    folder: Path
    shape: Shape
    origin: Shape
    scans: tuple[ScanRecord, ...]

    @staticmethod
    def open(folder: Path) -> ScanStore:
        """Read the index.

        Raises:
            InputError: no store there, of a newer version, without scans, or with one name twice.
        """
        path = Path(folder) / INDEX
        try:
            index = read_json(path)
        except FileNotFoundError:
            raise InputError(
                f"{folder} is not a scan store (it has no {INDEX}); create one with 'asa prepare'."
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        try:
            if index.get("format", 0) > FORMAT:
                raise InputError(
                    f"{folder} was written by a newer version of ASA (format {index['format']}). Update ASA to use it."
                )
            scans = tuple(record_from(values) for values in index["scans"])
            shape, origin = _shape(index["shape"]), _shape(index["origin"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path} is not the index of a scan store, or damaged ({error!r}).") from error
        if not scans:
            raise InputError(f"{folder} contains no scans: preparation of every scan failed, see {path}.")
        counts = Counter(scan.name for scan in scans)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise InputError(f"{path} lists a scan twice: {', '.join(twice[:5])}.")
        return ScanStore(Path(folder), shape, origin, scans)

    def read(self, number: int) -> npt.NDArray[np.uint8]:
        """Return the array of scan ``number``, memory-mapped and read-only.

        Raises:
            InputError: the file vanished or is damaged; the scan is named.
        """
        scan = self.scans[number]
        path = volume_path(self.folder, scan.name)
        try:
            array: npt.NDArray[np.uint8] = map_array(path)
        except (OSError, ValueError) as error:
            raise InputError(f"Scan '{scan.name}' of the store can no longer be read: {error}") from error
        if array.shape != self.shape or array.dtype != np.uint8:
            raise InputError(f"Scan '{scan.name}' of the store is {array.dtype} {array.shape}, not uint8 {self.shape}.")
        return array

    def fingerprint(self) -> dict[str, Any]:
        """What run.yaml says about the data."""
        digest = hashlib.sha256((self.folder / INDEX).read_bytes()).hexdigest()
        return {"store": str(self.folder), "index_sha256": digest, "scans": len(self.scans), "shape": list(self.shape)}


def record_from(values: dict[str, Any]) -> ScanRecord:
    """Return a record as JSON holds it."""
    return ScanRecord(**{**values, "warnings": tuple(values.get("warnings", ()))})


def map_array(path: Path) -> npt.NDArray[Any]:
    """Return a stored array, memory-mapped and read-only.

    Raises:
        OSError, ValueError: it is not there, or damaged.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except EOFError:
        raise ValueError(f"{path} is empty.") from None
    return array


def volume_path(folder: Path, name: str) -> Path:
    """Return the path of the array of a scan."""
    return folder / "volumes" / f"{name}.npy"


def protect_store(folder: Path, outputs: Iterable[Path]) -> None:
    """Refuse to overwrite files in a folder that is not a store yet.

    Raises:
        OutputError: one of the outputs exists.
    """
    if not (folder / SETTINGS).exists():
        protect_others(outputs)


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a new store, or compare them with those that it was begun with.

    Raises:
        InputError: they differ, or cannot be read.
        OutputError: no room or no permission.
    """
    path = folder / SETTINGS
    if not path.exists():
        write_json(path, settings)
        return
    try:
        before = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). Choose another folder for the store.") from error
    if before != settings:
        raise InputError(f"{folder} was started with different settings ({path}). Choose another folder for the store.")


def write_scan(folder: Path, record: ScanRecord, array: npt.NDArray[np.uint8], sources: Mapping[str, Source]) -> None:
    """Write the array, then the record, each atomically: a scan with a record is whole.

    Raises:
        OutputError: no room or no permission.
    """
    record_path(folder, record.name).unlink(missing_ok=True)
    with atomic_path(volume_path(folder, record.name)) as temporary:
        np.save(temporary, array, allow_pickle=False)
    write_record(record_path(folder, record.name), dataclasses.asdict(record), sources)


def record_path(folder: Path, name: str) -> Path:
    """Return the path of the record of a scan."""
    return folder / "records" / f"{name}.json"


def read_record(folder: Path, name: str) -> ScanRecord | None:
    """Return the record of a scan that is prepared already; None if it is not, or only in part."""
    try:
        return record_from(read_values(record_path(folder, name)))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_index(
    folder: Path, shape: Shape, origin: Shape, scans: Iterable[ScanRecord], failed: Iterable[dict[str, str]]
) -> None:
    """Write index.json; ``failed`` are {"source", "reason"}.

    Raises:
        OutputError: no room or no permission.
    """
    records = [dataclasses.asdict(scan) for scan in scans]
    content = {"format": FORMAT, "shape": shape, "origin": origin, "scans": records, "failed": list(failed)}
    write_json(folder / INDEX, content)


def quantise(image: npt.NDArray[np.float32], brain: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Intensities in the brain as 1 to 255, linear up to their 99.9th percentile; 0 outside.

    Networks see z-scores, so neither scale nor offset need to be kept.

    Raises:
        InputError: nothing in the brain, or one single value.
    """
    inside = image[brain]
    if inside.size == 0:
        raise InputError("No brain was found in the scan.")
    low, high = float(inside.min()), float(np.percentile(inside, 99.9))
    if not high > low:
        raise InputError("The brain has constant intensity.")
    scaled = np.clip((image - low) * (254 / (high - low)), 0, 254)
    stored: npt.NDArray[np.uint8] = np.where(brain, np.rint(scaled) + 1, 0).astype(np.uint8)
    return stored


def split_by_subject(scans: Sequence[ScanRecord], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the scans to train on and of those held out; all sessions of a subject go to one side.

    ``share`` of the subjects are held out, at least one if the share is not 0 and there are two subjects.
    """
    subjects = sorted({scan.subject for scan in scans})
    count = min(max(1, round(share * len(subjects))), len(subjects) - 1) if share > 0 else 0
    apart = set(random.Random(seed).sample(subjects, count))
    train = [i for i, scan in enumerate(scans) if scan.subject not in apart]
    return train, [i for i, scan in enumerate(scans) if scan.subject in apart]


def read_scan_split(path: Path, scans: Sequence[ScanRecord]) -> tuple[list[int], list[int]]:
    """Return the split a JSON file gives: {"train": [names], "held_out": [names]}; scans in neither list are left out.

    Raises:
        InputError: unreadable, an unknown or repeated name, or a subject on both sides.
    """
    try:
        lists = read_json(path)
        train, held_out = ([str(name) for name in lists[part]] for part in ("train", "held_out"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Split {path} cannot be read: it needs the lists 'train' and 'held_out' ({error})."
        ) from error
    number = {scan.name: i for i, scan in enumerate(scans)}
    if unknown := [name for name in (*train, *held_out) if name not in number]:
        raise InputError(f"Split {path} names scans that are not in the store: {', '.join(unknown[:5])}.")
    if len(set(train + held_out)) < len(train) + len(held_out):
        raise InputError(f"Split {path} lists a scan twice.")
    sides = [{scans[number[name]].subject for name in names} for names in (train, held_out)]
    if both := sorted(sides[0] & sides[1]):
        raise InputError(f"Split {path} has sessions of the same subject in both parts: {', '.join(both[:5])}.")
    return [number[name] for name in train], [number[name] for name in held_out]


def _shape(values: Sequence[int]) -> Shape:
    t, h, w = values
    return t, h, w
