"""Brain extraction of aligned scans: the interface, and the methods without a network."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.errors import InputError
from asa.geometry import Alignment, to_frame
from asa.temporary import temporary_folder
from asa.volume import Volume, read_volume

Mask = npt.NDArray[np.bool_]


class Stripper(Protocol):
    """Finds the brain of one scan. Instances are sent to other processes, so they hold settings, not networks."""

    def __call__(self, path: Path, framed: Volume, alignment: Alignment) -> Mask:
        """Brain mask (T, H, W) on the brain frame.

        Args:
            path: the scan's file.
            framed: the scan in the brain frame.
            alignment: how it came there.

        Raises:
            InputError: no brain can be found.
        """
        ...


@dataclass(frozen=True)
class AlreadyStripped:
    """For trees of stripped scans: the brain is what is not zero, holes filled."""

    def __call__(self, path: Path, framed: Volume, alignment: Alignment) -> Mask:
        """See :class:`Stripper`."""
        inside: Mask = ndimage.binary_fill_holes(framed.array > 0)
        if inside.mean() > 0.9:
            raise InputError(f"{path.name} is not skull-stripped: its background is not empty.")
        return inside


@dataclass(frozen=True)
class MaskFile:
    """Existing masks, next to the scans or in a separate tree.

    ``pattern``: path of the mask, in which {folder}, {stem} and {name} stand for the scan's folder, its name without
    and with endings: ``{folder}/{stem}_mask.nii.gz``.
    """

    pattern: str

    def __call__(self, path: Path, framed: Volume, alignment: Alignment) -> Mask:
        """See :class:`Stripper`."""
        return _from_file(self.mask_of(path), alignment)

    def mask_of(self, path: Path) -> Path:
        """Return the mask of a scan."""
        stem = path.name.split(".")[0]
        return Path(self.pattern.format(folder=path.parent, stem=stem, name=path.name))


@dataclass(frozen=True)
class Command:
    """Another program, called once a scan.

    ``command``: its command line, in which {input} and {mask} stand for the scan and for the mask it shall write:
    ``mri_synthstrip -i {input} -m {mask}``.
    """

    command: str
    timeout_s: float = 3600

    def __call__(self, path: Path, framed: Volume, alignment: Alignment) -> Mask:
        """See :class:`Stripper`."""
        with temporary_folder("strip") as folder:
            mask = folder / "mask.nii.gz"
            words = [word.format(input=path.resolve(), mask=mask) for word in shlex.split(self.command)]
            try:
                done = subprocess.run(
                    words, capture_output=True, encoding="utf-8", errors="replace", timeout=self.timeout_s, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise InputError(f"'{words[0]}' could not skull-strip {path.name}: {error}") from error
            if done.returncode or not mask.exists():
                last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}, no mask"])[-1]
                raise InputError(f"'{words[0]}' could not skull-strip {path.name}: {last}")
            return _from_file(mask, alignment)


def _from_file(path: Path, alignment: Alignment) -> Mask:
    mask = read_volume(path, labels=True)
    inside: Mask = to_frame(mask.with_array((mask.array > 0).astype(np.uint8)), alignment, order=0).array > 0
    return inside
