"""Read and write single-file NIfTI-1 with numpy only, in steps.

The panel must not import nibabel, which may not be installed yet, and ITK's writer rejects sheared affines. Only files
written by the engine or by this module are read.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ASASlicerLib.steps import STEP_BYTES, Steps, slabs

_HEADER_SIZE, _DATA_OFFSET = 348, 352
_CODES: dict[np.dtype[Any], int] = {
    np.dtype(np.uint8): 2,
    np.dtype(np.int16): 4,
    np.dtype(np.int32): 8,
    np.dtype(np.float32): 16,
    np.dtype(np.float64): 64,
    np.dtype(np.int8): 256,
    np.dtype(np.uint16): 512,
    np.dtype(np.uint32): 768,
}
_SCANNER, _MILLIMETRES = 1, 2
_GZIP = b"\x1f\x8b"
_COMPRESSION = 5  # of 9: label maps become hardly smaller beyond it, and take several times as long


def write_nifti(path: Path, voxels: Callable[[], np.ndarray], ijk_to_ras: np.ndarray) -> Steps[None]:
    """Write a .nii or .nii.gz file: a volume with its 4x4 affine from (i, j, k) to RAS in mm.

    `voxels` returns the array (K, J, I), in Slicer's axis order; it is called at each step, so that no view of the
    application's memory is kept. 64-bit integers and half floats become float32.

    Raises:
        OSError: the file cannot be written.
    """
    array = voxels()
    shape, kind = array.shape, array.dtype if array.dtype in _CODES else np.dtype(np.float32)
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    header = bytearray(_DATA_OFFSET)
    struct.pack_into("<i", header, 0, _HEADER_SIZE)
    struct.pack_into("<8h", header, 40, 3, *shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, _CODES[kind], kind.itemsize * 8)
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<fff", header, 108, _DATA_OFFSET, 1, 0)
    header[123] = _MILLIMETRES
    struct.pack_into("<hh", header, 252, 0, _SCANNER)
    struct.pack_into("<12f", header, 280, *np.asarray(ijk_to_ras, dtype=float)[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    with gzip.open(path, "wb", _COMPRESSION) if path.suffix == ".gz" else path.open("wb") as stream:
        stream.write(header)
        for slab in slabs(shape, kind.itemsize):
            stream.write(np.ascontiguousarray(voxels()[slab], dtype=kind.newbyteorder("<")).data)
            yield True


def right_handed(array: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an array (I, J, K) and its 4x4 affine as Slicer represents them after reading.

    Slicer turns a left-handed grid into a right-handed one by reversing the last axis.
    """
    if np.linalg.det(ijk_to_ras[:3, :3]) >= 0:
        return array, ijk_to_ras
    affine = np.array(ijk_to_ras, dtype=float)
    affine[:3, 3] += affine[:3, 2] * (array.shape[2] - 1)
    affine[:3, 2] *= -1
    return array[:, :, ::-1], affine


def read_nifti(path: Path) -> Steps[tuple[np.ndarray, np.ndarray]]:
    """Read the array (I, J, K) or (I, J, K, C) of a .nii or .nii.gz file with an sform, and its affine to RAS in mm.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a supported NIfTI-1 file.
    """
    data = yield from _read(path)
    if len(data) < _DATA_OFFSET or data[344:347] != b"n+1":
        raise ValueError(f"{path} is not a NIfTI-1 file.")
    dimensions = struct.unpack_from("<8h", data, 40)
    (code,) = struct.unpack_from("<h", data, 70)
    offset, slope, intercept = struct.unpack_from("<fff", data, 108)
    (sform,) = struct.unpack_from("<h", data, 254)
    kinds = [kind for kind, known in _CODES.items() if known == code]
    if not kinds or sform == 0:
        raise ValueError(f"{path} has an unsupported data type, or no sform.")
    shape = dimensions[1 : 1 + dimensions[0]]
    count = int(np.prod(shape))
    array = np.frombuffer(data, kinds[0].newbyteorder("<"), count, int(offset)).reshape(shape, order="F")
    if slope not in (0, 1) or intercept != 0:
        array = array * np.float32(slope or 1) + np.float32(intercept)
    affine = np.eye(4)
    affine[:3] = np.reshape(struct.unpack_from("<12f", data, 280), (3, 4))
    return array, affine


def _read(path: Path) -> Steps[bytearray]:
    data = bytearray()
    with path.open("rb") as stream:
        start = stream.read(2)
        stream.seek(0)
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if start == _GZIP else None
        while block := stream.read(STEP_BYTES):
            while unpack is not None and block:
                try:
                    data += unpack.decompress(block, STEP_BYTES)
                except zlib.error as error:
                    raise ValueError(f"{path} is damaged: {error}.") from error
                block = unpack.unconsumed_tail
                yield True
            data += block
            yield True
    return data
