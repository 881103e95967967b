"""Voxels of a DICOM volume, as a scanner meant them: with their slope and intercept applied."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.silence import quiet_dicom
from asa.volume.dicom.stacks import Stack

_NATIVE = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}
_KEYWORDS = ("NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData")
_TYPES = {8, 16, 32}  # bits of a value
# No scan of a head compresses further; a header that claims more would cost the memory of what is not there.
_MOST_COMPRESSED = 200


def read_voxels(stack: Stack) -> npt.NDArray[np.float32]:
    """Return the voxels (columns, rows, slices).

    Raises:
        InputError: a file is truncated, or compressed in a way that cannot be read.
    """
    rows, columns = stack.frames[0].size
    voxels = np.empty((len(stack.frames), rows, columns), np.float32)
    for file in stack.files:
        wanted = [(place, frame) for place, frame in enumerate(stack.frames) if frame.file == file]
        values, rescaled = _read(file, (rows, columns), {frame.rescale for _, frame in wanted})
        for place, frame in wanted:
            slope, intercept = (1.0, 0.0) if rescaled else frame.rescale
            voxels[place] = values[frame.number]
            voxels[place] *= slope
            voxels[place] += intercept
    return voxels.transpose(2, 1, 0)


def _read(file: Path, size: tuple[int, int], scales: set[tuple[float, float]]) -> tuple[npt.NDArray[Any], bool]:
    """Return the frames of a file (frames, rows, columns), and whether slope and intercept are applied already."""
    import pydicom

    with quiet_dicom():
        try:
            dataset = pydicom.dcmread(file, specific_tags=list(_KEYWORDS))
            syntax = dataset.file_meta.TransferSyntaxUID
            data = dataset.PixelData
            shape = (int(dataset.get("NumberOfFrames") or 1), *size)
            if str(syntax) in _NATIVE:
                return _native(dataset, data, shape, _NATIVE[str(syntax)]), False
        except Exception as error:  # what pydicom trips over in a damaged file can be anything
            raise InputError(f"The DICOM file {file.name} is truncated or damaged.") from error
    if math.prod(shape) > _MOST_COMPRESSED * len(data):
        raise InputError(f"The DICOM file {file.name} is truncated: it is too short for the image that it describes.")
    if len(scales) > 1:
        raise InputError(f"The DICOM file {file.name} is compressed and has frames on different scales; decompress it.")
    return _compressed(file, shape, syntax.name), True


def _native(dataset: Any, data: bytes, shape: tuple[int, int, int], order: str) -> npt.NDArray[Any]:
    """Return values that are not compressed. Raises ValueError where there are fewer than the header says."""
    bits, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    unused = bits - 1 - int(dataset.get("HighBit", stored - 1))
    if bits not in _TYPES or not 0 < stored <= bits or not 0 <= unused <= bits - stored:
        raise ValueError("The number of bits is not valid.")
    kind = np.dtype(f"{order}{'i' if int(dataset.PixelRepresentation) else 'u'}{bits // 8}")
    values = np.frombuffer(data, kind, math.prod(shape)).reshape(shape)
    if stored == bits:
        return values
    # What lies outside the stored bits may be an overlay; the way back extends the sign.
    shifted: npt.NDArray[Any] = np.right_shift(np.left_shift(values, unused), bits - stored)
    return shifted


def _compressed(file: Path, shape: tuple[int, int, int], syntax: str) -> npt.NDArray[Any]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.SetImageIO("GDCMImageIO")
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # GDCM's warnings name the file
    try:
        values: npt.NDArray[Any] = sitk.GetArrayFromImage(reader.Execute()).reshape(shape)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The DICOM file {file.name} cannot be decompressed ({syntax}); decompress it first (gdcmconv --raw)."
        ) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    return values
