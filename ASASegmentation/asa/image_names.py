"""Image file names: supported suffixes, and names without them. Standard library only."""

from __future__ import annotations

from pathlib import Path

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd")


def is_image_name(path: Path) -> bool:
    """Whether a file is called as an image is, and is not hidden."""
    return path.name.lower().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".")


def image_stem(path: Path) -> str:
    """File name without the suffix of an image."""
    suffix = next((one for one in IMAGE_SUFFIXES if path.name.lower().endswith(one)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]
