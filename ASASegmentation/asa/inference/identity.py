"""Check by DICOM tags whether images are from the same patient."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from asa.errors import InputError
from asa.files import read_json
from asa.volume.dicom.headers import IDENTITY
from asa.volume.dicom.stacks import stack_at
from asa.volume.reading import is_dicom_image


def check_one_patient(images: Mapping[str, Path]) -> None:
    """Compare the patient data of the images: DICOM tags, or a sidecar file (BIDS, dcm2niix: same name, ending .json).

    Raises:
        InputError: two of them are of different patients.
    """
    known = {key: _identity(path) for key, path in images.items()}
    for (first, one), (second, other) in itertools.combinations(known.items(), 2):
        if any(one[tag] != other[tag] for tag in one.keys() & other.keys()):
            raise InputError(
                f"The {first} and {second} images are from different patients according to their DICOM tags."
            )


def _identity(path: Path) -> Mapping[str, str]:
    if is_dicom_image(path):
        return stack_at(path).first.identity
    sidecar = path.with_name(path.name.removesuffix(".gz").rpartition(".")[0] + ".json")
    try:
        said = read_json(sidecar)
        return {tag: str(said[tag]).strip().lower() for tag in IDENTITY if str(said.get(tag, "")).strip()}
    except (OSError, ValueError, AttributeError, TypeError, LookupError):
        return {}
