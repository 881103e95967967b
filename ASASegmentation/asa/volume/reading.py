"""Read images and label maps: NIfTI-1/2 and FreeSurfer's MGH through nibabel, NRRD through SimpleITK."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.volume.checks import check_affine, check_contrast, check_extent, check_finite, check_labels, check_shape
from asa.volume.grid import Affine
from asa.volume.image import StorageOrder, Volume

NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")
GZIP_SUFFIXES = (".gz", ".mgz")
ITK_SUFFIXES = (".nrrd",)
# ITK's world axes point left and posterior, ours right and anterior.
LPS_TO_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
# Deflate cannot shrink further, so a compressed file bounds what it can hold.
MAX_DEFLATE_RATIO = 1032


def read_volume(path: str | os.PathLike[str], *, labels: bool = False) -> Volume:
    """Read an image, or a label map, into (T, H, W).

    path: .nii, .nii.gz (NIfTI-1 or 2), .mgz, .mgh, .nrrd or .seg.nrrd; any storage order, oblique or sheared. A fourth
    axis of one frame is dropped.
    labels: read whole numbers in their own integer type, instead of float32 with the header's scaling applied.

    Raises InputError, one sentence, when there is no such image: missing, a folder, damaged, truncated, not three
    dimensions, a singular affine, NaN or infinity; and for images (not label maps) also when it is constant, covers
    too little for a brain, or is a label map itself.
    """
    source = Path(path)
    if source.is_dir():
        raise InputError(f"{source} is a folder, not an image; convert DICOM series to NIfTI first.")
    if not source.is_file():
        raise InputError(f"{source} does not exist.")
    name = source.name.lower()
    if name.endswith(NIBABEL_SUFFIXES):
        stored, affine, header = _read_nibabel(source, labels)
    elif name.endswith(ITK_SUFFIXES):
        stored, affine, header = *_read_itk(source, labels), None
    else:
        raise InputError(f"{source} is not a supported image format: .nii, .nii.gz, .mgz, .mgh or .nrrd.")

    storage = StorageOrder.of(affine, header)
    grid = storage.grid(stored.shape, affine)
    array = np.ascontiguousarray(storage.to_array(stored))
    check_finite(source, array)
    if labels:
        array = check_labels(source, array)
    else:
        check_extent(source, grid)
        check_contrast(source, array)
    return Volume(array, grid, storage)


def _read_nibabel(path: Path, labels: bool) -> tuple[npt.NDArray[Any], Affine, Any]:
    """Return the stored array (three axes), affine, and the header if it is NIfTI. Raises InputError."""
    try:
        image: Any = nib.load(path)
        kind = image.get_data_dtype()
    except Exception as error:  # what nibabel trips over in a damaged header can be anything
        raise InputError(f"{path} is not a {_format_name(path)} file, or its header is damaged.") from error
    shape = check_shape(path, image.shape)
    if kind.fields is not None or kind.kind == "c":
        raise InputError(f"{path} contains colours or complex numbers. Use an image with one value per voxel.")
    affine = check_affine(path, image.affine)
    _check_size(path, math.prod(image.shape) * kind.itemsize)
    try:
        if path.suffix.lower() in GZIP_SUFFIXES:
            image = type(image).from_bytes(_unpacked(path))
        proxy = image.dataobj
        whole_numbers = labels and kind.kind in "iu" and (proxy.slope, proxy.inter) == (1, 0)
        stored = np.asanyarray(proxy) if whole_numbers else np.asarray(proxy, dtype=np.float32)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged and cannot be read.") from error
    return stored.reshape(shape), affine, image.header if isinstance(image, nib.Nifti1Image) else None


def _unpacked(path: Path) -> bytes:
    """Return the content of a gzip file, read to its end, where the checksum is, which nibabel does not verify."""
    with gzip.open(path) as file:
        return file.read()


def _read_itk(path: Path, labels: bool) -> tuple[npt.NDArray[Any], Affine]:
    """Return the stored array (three axes) and affine. Raises InputError."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() > 1:
            what = "overlapping segments" if labels else "several values per voxel"
            raise InputError(f"{path} has {what}. Use a volume with one value per voxel.")
        shape = check_shape(path, reader.GetSize())
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path} is not a NRRD file, or it is truncated or damaged.") from error
    rank = image.GetDimension()
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (rank, rank))[:3, :3]
    affine[:3, :3] = direction * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    affine = check_affine(path, LPS_TO_RAS @ affine)
    # SimpleITK's arrays run slowest axis first; the transpose puts the file's first axis first.
    stored = sitk.GetArrayViewFromImage(image).T.reshape(shape)
    return stored.astype(stored.dtype if labels else np.float32), affine


def _check_size(path: Path, claimed: int) -> None:
    """Raise InputError when a file cannot hold the bytes that its header claims, before memory is taken for them."""
    ratio = MAX_DEFLATE_RATIO if path.suffix.lower() in GZIP_SUFFIXES else 1
    if claimed > path.stat().st_size * ratio:
        raise InputError(f"{path} is truncated: it is too short for the image that its header describes.")


def _format_name(path: Path) -> str:
    return "NIfTI" if path.name.lower().endswith((".nii", ".nii.gz")) else "FreeSurfer MGH"
