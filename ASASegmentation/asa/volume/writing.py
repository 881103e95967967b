"""Write volumes in the axis order of their source file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from asa.errors import OutputError
from asa.files import atomic_path
from asa.volume.grid import LPS_TO_RAS, Affine
from asa.volume.image import Volume

# Text fields of a NIfTI header, and numbers that describe the source's values instead of ours.
_TEXT_FIELDS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
_VALUE_FIELDS = ("cal_max", "cal_min", "glmax", "glmin", "extents", "session_error", "intent_code")
# What not every reader understands, and the nearest that it does.
_COMMON_DTYPES = {"bool": np.uint8, "float16": np.float32, "int64": np.int32, "uint64": np.uint32}
_SCANNER = 1


def write_volume(volume: Volume, path: str | os.PathLike[str], dtype: npt.DTypeLike | None = None) -> None:
    """Write a volume as .nii, .nii.gz or .nrrd, atomically, on the grid and in the axis order of its file.

    dtype: type of the voxels in the file; by default the array's own (booleans as uint8, 64-bit integers as 32).
    A NIfTI source keeps its sform, qform and codes. No text of the source header is written: it can name a patient.
    Raises OutputError when the file cannot be written, ValueError for another file name.
    """
    target = Path(path)
    name = target.name.lower()
    kind = np.dtype(dtype) if dtype is not None else volume.array.dtype
    kind = np.dtype(_COMMON_DTYPES.get(kind.name, kind))
    stored = volume.storage.to_stored(volume.array).astype(kind, copy=False)
    affine = volume.storage.stored_affine(volume.grid)
    with atomic_path(target) as temporary:
        if name.endswith((".nii", ".nii.gz")):
            _write_nifti(stored, affine, volume.storage.header, temporary)
        elif name.endswith(".nrrd"):
            _write_nrrd(stored, affine, temporary)
        else:
            raise ValueError(f"{target.name}: volumes are written as .nii, .nii.gz or .nrrd.")


def _write_nifti(stored: npt.NDArray[Any], affine: Affine, source: Any, path: Path) -> None:
    header = nib.Nifti1Header() if source is None else source.copy()
    if source is None:
        header.set_xyzt_units("mm")
    for name in {*_TEXT_FIELDS, *_VALUE_FIELDS} & set(header.keys()):  # NIfTI-2 dropped some
        header[name] = b"" if name in _TEXT_FIELDS else 0
    header.extensions.clear()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_slope_inter(1, 0)
    if source is None or not np.allclose(header.get_best_affine(), affine, atol=1e-3):
        header.set_sform(affine, _SCANNER)
        header.set_qform(affine, _SCANNER)
        # A quaternion cannot hold shear: then its code says unset, and readers take the sform.
        if not np.allclose(header.get_qform(), affine, atol=1e-3):
            header["qform_code"] = 0
    make = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    nib.save(make(stored, None, header), path)


def _write_nrrd(stored: npt.NDArray[Any], affine: Affine, path: Path) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.T))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OutputError(f"Cannot write {path.parent}: {str(error).strip().splitlines()[-1]}") from error
