"""Files for other programs: transforms to MNI152 space, FreeSurfer's MGZ, look-up tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

from asa.errors import OutputError
from asa.files import atomic_path, write_text
from asa.geometry import Alignment
from asa.tasks import Task
from asa.volume import Volume
from asa.volume.grid import LPS_TO_RAS


def write_transforms(alignment: Alignment, paths: Iterable[Path]) -> None:
    """Write the affine transform of a scan to MNI152 space, as ITK writes transforms (.tfm: text, .mat: binary).

    It maps points of MNI152 space (LPS mm) to points of the scan, which is what resampling the scan to a template
    needs; 3D Slicer inverts it on loading, so that there it moves the scan onto the template.

    Raises:
        OutputError: a file cannot be written.
    """
    import SimpleITK as sitk

    matrix = LPS_TO_RAS @ alignment.matrix @ LPS_TO_RAS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    for path in paths:
        with atomic_path(path) as temporary:
            try:
                sitk.WriteTransform(transform, str(temporary))
            except RuntimeError as error:
                raise OutputError(f"Cannot write {path}: ITK could not write the transform.") from error


def write_mgz(labels: Volume, path: Path) -> None:
    """Write a label map in FreeSurfer's format, in the storage order of its scan.

    Raises:
        OutputError: the file cannot be written.
    """
    stored = np.ascontiguousarray(labels.storage.to_stored(labels.array).astype(np.uint8))
    image = nib.MGHImage(stored, labels.storage.stored_affine(labels.grid))
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def write_freesurfer_lut(task: Task, path: Path) -> None:
    """Write the label values with names and colours as a FreeSurfer colour table.

    Raises:
        OutputError: the file cannot be written.
    """
    lines = ["#No.  Label Name:                  R    G    B    A", f"0      {'Unknown':<28} 0    0    0    0"]
    for label in task.labels:
        red, green, blue = label.colour
        name = label.title.replace(" ", "-")  # names end at a space
        lines.append(f"{label.value:<6} {name:<28} {red:<4} {green:<4} {blue:<4} 0")
    write_text(path, "\n".join(lines) + "\n")


def write_itksnap_labels(task: Task, path: Path) -> None:
    """Write the label values with names and colours as an ITK-SNAP label description.

    Raises:
        OutputError: the file cannot be written.
    """
    lines = [
        "################################################",
        "# ITK-SnAP Label Description File",
        "# File format:",
        "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL",
        "################################################",
        '    0     0    0    0        0  0  0    "Clear Label"',
    ]
    for label in task.labels:
        red, green, blue = label.colour
        lines.append(f'{label.value:>5} {red:>5} {green:>4} {blue:>4}        1  1  1    "{label.title}"')
    write_text(path, "\n".join(lines) + "\n")
