"""Read images and label maps: NIfTI-1/2 and FreeSurfer's MGH through nibabel, NRRD through SimpleITK, DICOM."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.image_names import is_image_name
from asa.volume.background import air_noise, rebased, with_finite_background
from asa.volume.checks import (
    check_affine,
    check_contrast,
    check_extent,
    check_finite,
    check_labels,
    check_memory,
    check_shape,
)
from asa.volume.dicom.headers import is_dicom
from asa.volume.dicom.pixels import read_voxels
from asa.volume.dicom.stacks import stack_at
from asa.volume.grid import LPS_TO_RAS, Affine
from asa.volume.image import StorageOrder, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")
MGH_SUFFIXES = (".mgz", ".mgh")
GZIP_SUFFIXES = (".gz", ".mgz")
ITK_SUFFIXES = (".nrrd",)
# Deflate cannot shrink further, so a compressed file bounds what it can hold.
MAX_DEFLATE_RATIO = 1032
# The first number of a NIfTI-2 header, in either byte order.
NIFTI2_LENGTHS = (540, int.from_bytes((540).to_bytes(4, "big"), "little"))
# Bytes within which the header of an NRRD ends; a header with a table of segments is longer, but begins with its space.
NRRD_HEADER = 65536
# The bytes of an MGH header that say whether its direction cosines are valid.
MGH_GOOD_RAS = slice(28, 30)


def read_volume(path: str | os.PathLike[str], *, labels: bool = False, head: bool = True) -> Volume:
    """Read an image, or a label map, into (T, H, W).

    path: .nii, .nii.gz (NIfTI-1 or 2), .mgz, .mgh, .nrrd or .seg.nrrd; any storage order, oblique or sheared. A fourth
    axis of one frame is dropped. A DICOM file stands for its series in its folder; a folder for the DICOM volume in it.
    labels: read whole numbers in their own integer type, instead of float32.
    head: check that an image shows a head; False for maps such as probabilities.

    NaN and infinity around a head become background, which stands in ``notes``. Whether a NIfTI is compressed is read
    from its content.

    Raises InputError, one sentence, when there is no such image: missing, a folder, damaged, truncated, not three
    dimensions, a singular affine; for label maps when a voxel is not a whole number; and for images also when it is
    constant, has NaN inside the head, covers too little for a brain, or is a label map itself; ResourceError when it is
    larger than the free memory allows.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{source} does not exist.")
    name = source.name.lower()
    left_out: tuple[str, ...] = ()
    if not labels and is_dicom_image(source):
        stored, affine, left_out = _read_dicom(source)
        header = None
    elif source.is_dir():
        raise InputError(f"{source} is a folder, not a label map.")
    elif name.endswith(NIBABEL_SUFFIXES):
        stored, affine, header = _read_nibabel(source, labels)
    elif name.endswith(ITK_SUFFIXES):
        stored, affine, header = *_read_itk(source, labels), None
    else:
        raise InputError(f"{source} is not a supported image format: .nii, .nii.gz, .mgz, .mgh, .nrrd or DICOM.")

    nifti = header if isinstance(header, nib.Nifti1Header) else None
    storage = StorageOrder.of(affine, nifti, oriented=_says_orientation(source))
    grid = storage.grid(stored.shape, affine)
    array = np.ascontiguousarray(storage.to_array(stored))
    finite = check_finite(source, array, labels=labels)
    notes = (*left_out, *finite)
    if labels:
        return Volume(check_labels(source, array), grid, storage)
    if finite:
        array = with_finite_background(array)
    if head:
        check_extent(source, grid)
        check_contrast(source, array)
    return Volume(array, grid, storage, notes)


def read_scan(path: str | os.PathLike[str]) -> Volume:
    """Read an image (:func:`read_volume`) with its background at 0 and its brightest tissue near 1000.

    Whatever offset and scale the file has then never matter to what follows (:func:`asa.volume.background.rebased`).
    Noise in the air that is as bright as tissue becomes background, which stands in ``notes``.

    Raises:
        InputError: as :func:`read_volume`.
    """
    volume = read_volume(path)
    array = rebased(volume.array)
    if (air := air_noise(array, volume.spacing)) is None:
        return volume.with_array(array)
    array[air] = 0
    note = "has noise as bright as tissue in the air, which was removed"
    return replace(volume, array=array, notes=(*volume.notes, note))


def is_dicom_image(path: Path) -> bool:
    """Whether a path stands for a DICOM volume: a folder, or a DICOM file without the name of another format."""
    return path.is_dir() or (not is_image_name(path) and is_dicom(path))


def _read_dicom(path: Path) -> tuple[npt.NDArray[np.float32], Affine, tuple[str, ...]]:
    """Return the voxels (columns, rows, slices), the affine, and notes on what was left out. Raises InputError."""
    stack = stack_at(path)
    rows, columns = stack.frames[0].size
    check_memory(path, check_shape(path, (columns, rows, len(stack.frames))))
    affine = check_affine(path, stack.affine)
    return read_voxels(stack), affine, stack.notes


def _read_nibabel(path: Path, labels: bool) -> tuple[npt.NDArray[Any], Affine, Any]:
    """Return the stored array (three axes), affine, and header. Raises InputError."""
    packed = is_gzip(path)
    try:
        image = load_header(path)
        kind = image.get_data_dtype()
    except Exception as error:  # what nibabel trips over in a damaged header can be anything
        raise InputError(f"{path} is not a {_format_name(path)} file, or its header is damaged.") from error
    shape = check_shape(path, image.shape)
    if kind.fields is not None or kind.kind == "c":
        raise InputError(f"{path} contains colours or complex numbers. Use an image with one value per voxel.")
    affine = check_affine(path, image.affine)
    _check_size(path, math.prod(image.shape) * kind.itemsize, packed=packed)
    check_memory(path, shape)
    try:
        if packed:
            image = type(image).from_bytes(_unpacked(path))
        proxy = image.dataobj
        whole_numbers = labels and kind.kind in "iu" and (proxy.slope, proxy.inter) == (1, 0)
        stored = np.asanyarray(proxy) if whole_numbers else np.asarray(proxy, dtype=np.float32)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged and cannot be read.") from error
    return stored.reshape(shape), affine, image.header


def is_gzip(path: Path) -> bool:
    """Return whether a file is compressed, by its first bytes; names are often wrong."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def load_header(path: Path) -> Any:
    """Return nibabel's image of a NIfTI or MGH file without its voxels, compressed or not, whatever its name says."""
    packed = is_gzip(path)
    if packed == (path.suffix.lower() in GZIP_SUFFIXES):
        return nib.load(path)
    content = _unpacked(path) if packed else path.read_bytes()
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return nib.MGHImage.from_bytes(content)
    (length,) = struct.unpack("<i", content[:4])
    return (nib.Nifti2Image if length in NIFTI2_LENGTHS else nib.Nifti1Image).from_bytes(content)


def _says_orientation(path: Path) -> bool:
    """Whether a file other than a NIfTI says how the head lies in it; of a NIfTI, its codes tell."""
    name = path.name.lower()
    if name.endswith(MGH_SUFFIXES):  # nibabel fills in what is missing
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            return any(file.read(MGH_GOOD_RAS.stop)[MGH_GOOD_RAS])
    if name.endswith(ITK_SUFFIXES):
        with path.open("rb") as file:
            fields = file.read(NRRD_HEADER).split(b"\n\n")[0].lower().split(b"\n")
        return any(field.startswith((b"space:", b"space dimension:")) for field in fields)
    return True


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
        check_memory(path, shape)
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path} is not a NRRD file, or it is truncated or damaged.") from error
    affine = check_affine(path, itk_affine(image))
    # SimpleITK's arrays run slowest axis first; the transpose puts the file's first axis first.
    stored = sitk.GetArrayViewFromImage(image).T.reshape(shape)
    return stored.astype(stored.dtype if labels else np.float32), affine


def itk_affine(image: sitk.Image) -> Affine:
    """Return the affine (4×4, file indices → RAS mm) of the three spatial axes of an image that SimpleITK has read."""
    rank = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (rank, rank))[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    matrix: Affine = LPS_TO_RAS @ affine
    return matrix


def _check_size(path: Path, claimed: int, *, packed: bool) -> None:
    """Raise InputError when a file cannot hold the bytes that its header claims, before memory is taken for them."""
    ratio = MAX_DEFLATE_RATIO if packed else 1
    if claimed > path.stat().st_size * ratio:
        raise InputError(f"{path} is truncated: it is too short for the image that its header describes.")


def _format_name(path: Path) -> str:
    return "NIfTI" if path.name.lower().endswith((".nii", ".nii.gz")) else "FreeSurfer MGH"
