"""Aligned and stripped scans for inspection, cached for repeated use."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asa.data.stripping import Mask, Stripper
from asa.errors import InputError
from asa.files import atomic_path
from asa.geometry import FRAME, Alignment, align_to_frame, from_frame, to_frame
from asa.volume import Volume, read_scan

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class FramedScan:
    """A scan and its brain in the brain frame.

    Attributes:
        scan: as its file has it.
        alignment: where the brain frame lies in it.
        array: (T, H, W) float32 of the whole frame, in the scan's intensities.
        brain: (T, H, W) bool.
    """

    scan: Volume
    alignment: Alignment
    array: npt.NDArray[np.float32]
    brain: Mask

    def in_scan(self, values: npt.NDArray[np.float32] | npt.NDArray[np.int32], box: Box, *, nearest: bool) -> Volume:
        """Values of a part of the brain frame on the scan's grid, 0 elsewhere, in the scan's storage order."""
        whole = np.zeros(FRAME.shape, values.dtype)
        whole[box] = values
        return self.scan.with_array(from_frame(whole, self.alignment, self.scan.grid, order=0 if nearest else 1).array)

    def patches_to_ras(self, box: Box, patch: int) -> npt.NDArray[np.float64]:
        """4x4 that maps a patch (t, h, w) of ``box``, counted from 0, to its centre in RAS mm of the scan."""
        to_voxel = np.eye(4)
        to_voxel[:3, :3] *= patch
        to_voxel[:3, 3] = [s.start + (patch - 1) / 2 for s in box]
        matrix: npt.NDArray[np.float64] = self.alignment.matrix @ FRAME.affine @ to_voxel
        return matrix


def seen_box(shape: tuple[int, ...]) -> Box:
    """Return the middle of the brain frame, which a network with a frame of ``shape`` voxels sees.

    Raises:
        InputError: it is larger than the brain frame.
    """
    if any(n > whole for n, whole in zip(shape, FRAME.shape, strict=True)):
        raise InputError(f"The model sees {shape} voxels, more than the brain frame {FRAME.shape} has.")
    return tuple(slice((w - n) // 2, (w - n) // 2 + n) for n, w in zip(shape, FRAME.shape, strict=True))


def frame_scan(image: Path, stripper: Stripper, *, align: bool, kept: Path | None = None) -> FramedScan:
    """Align and strip a scan.

    Args:
        image: its file.
        align: False trusts the scan to lie in MNI152 space already.
        kept: folder in which the outcome is kept for the next time, for the same file and settings.

    Raises:
        InputError: the scan cannot be used.
        OutputError: it cannot be kept.
    """
    scan = read_scan(image)
    path = None
    if kept is not None:
        what = hashlib.sha256(image.read_bytes())
        what.update(repr((stripper, align)).encode())
        path = kept / f"framed_{what.hexdigest()[:24]}.npz"
        if (found := _read(path, scan)) is not None:
            return found
    alignment = align_to_frame(scan) if align else Alignment(np.eye(4), "identity", 1.0)
    framed = to_frame(scan, alignment)
    brain = stripper(image, framed, alignment)
    result = FramedScan(scan, alignment, np.asarray(framed.array, np.float32), brain)
    if path is not None:
        with atomic_path(path) as temporary:
            np.savez(
                temporary,
                array=result.array,
                brain=np.packbits(brain),
                matrix=alignment.matrix,
                method=np.array(alignment.method),
                quality=np.array(alignment.quality),
                warnings=np.array(alignment.warnings, dtype=np.str_),
            )
    return result


def _read(path: Path, scan: Volume) -> FramedScan | None:
    """What was kept, None where there is nothing or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            brain = np.unpackbits(kept["brain"])[: np.prod(FRAME.shape)].reshape(FRAME.shape) > 0
            alignment = Alignment(
                kept["matrix"],
                str(kept["method"]),  # type: ignore[arg-type]  # one of the three that were written
                float(kept["quality"]),
                tuple(map(str, kept["warnings"])),
            )
            return FramedScan(scan, alignment, kept["array"], brain)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
