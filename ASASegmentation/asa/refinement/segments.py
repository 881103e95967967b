"""Read a segmentation to start from: a label map, or the segments of a ``.seg.nrrd``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.geometry import resample
from asa.refinement.rules import Rules, Segment
from asa.tasks import Task
from asa.volume import Grid, StorageOrder, Volume, read_volume
from asa.volume.reading import itk_affine

SEGMENTS = ".seg.nrrd"


def read_segmentation(path: Path, task: Task, image: Volume) -> Volume:
    """Read a segmentation on the grid of an image.

    Args:
        path: a label map with the values of the task, or a ``.seg.nrrd`` whose segments have the names of its
            regions or labels; segments may overlap, be on several layers and be cropped.
        task: what the values and names mean.
        image: of the same scan.

    Returns:
        uint8 label map.

    Raises:
        InputError: it cannot be read, is on another grid, or has no segment of the task.
    """
    if path.name.lower().endswith(SEGMENTS):
        return image.with_array(_read_segments(path, task, image.grid))
    labels = read_volume(path, labels=True)
    if not labels.grid.same_as(image.grid):
        raise InputError(f"{path} is not on the grid of the image; export it on that grid.")
    if labels.array.min() < 0 or labels.array.max() > 255:
        raise InputError(f"{path} holds values outside 0 to 255; it is not a label map of task '{task.name}'.")
    return labels.with_array(labels.array.astype(np.uint8))


def _read_segments(path: Path, task: Task, grid: Grid) -> npt.NDArray[np.uint8]:
    stored, order, described = _read_layers(path)
    names = {label.title: label.name for label in task.labels}
    names |= {region.title: region.name for region in task.regions}
    known = {label.name for label in task.labels} | {region.name for region in task.regions}
    found: dict[str, Volume] = {}
    for entry in described:
        name = entry["id"] if entry["id"] in known else names.get(entry["name"], "")
        if name and entry["layer"] < len(stored):
            mask = (stored[entry["layer"]] == entry["value"]).astype(np.uint8)
            found[name] = stored_mask(mask, order, entry["affine"])
    if not found:
        raise InputError(f"{path} holds no segment of task '{task.name}': {', '.join(sorted(known))}.")
    return combined(found, task, grid, "The file")


def stored_mask(mask: npt.NDArray[np.uint8], order: StorageOrder, affine: npt.NDArray[np.float64]) -> Volume:
    """Return a mask, as a file holds it, as a volume."""
    return Volume(np.ascontiguousarray(order.to_array(mask)), order.grid(mask.shape, affine))


def combined(masks: Mapping[str, Volume], task: Task, grid: Grid, where: str) -> npt.NDArray[np.uint8]:
    """Return the label map (T, H, W) on a grid of segments, which may overlap and may each have a different grid.

    Args:
        masks: name of a region or label -> uint8 mask.
        task: names the segments.
        grid: of the label map.
        where: who named the segments, for messages.

    Raises:
        InputError: the task has no such segment.
    """
    rules = Rules(task)
    found = {name: resample(mask, grid, order=0).array for name, mask in masks.items()}
    labels = np.zeros(grid.shape, np.uint8)
    for segment in _outer_first(rules, list(found), where):
        value = rules.targets(segment, adds=True)[0]
        labels[(found[segment.name] > 0) & ~rules.member(labels, segment)] = value
    return labels


def _outer_first(rules: Rules, names: list[str], where: str) -> list[Segment]:
    """Return segments by falling number of labels, so that an inner one is drawn over the outer one."""
    segments = [rules.segment(name, where) for name in names]
    return sorted(segments, key=lambda segment: -len(segment.values))


def _read_layers(path: Path) -> tuple[list[npt.NDArray[Any]], StorageOrder, list[dict[str, Any]]]:
    """Return the layers in the order of the file, that order, and id, name, layer, value and affine of the segments."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
        keys = [key for key in image.GetMetaDataKeys() if key.startswith("Segment") and key.endswith("_ID")]
        parts = [key[: -len("ID")] for key in sorted(keys)]
        described = [
            {
                "id": image.GetMetaData(f"{part}ID"),
                "name": image.GetMetaData(f"{part}Name"),
                "layer": int(image.GetMetaData(f"{part}Layer")),
                "value": int(image.GetMetaData(f"{part}LabelValue")),
            }
            for part in parts
        ]
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as segments; save it again with 3D Slicer.") from error
    affine = itk_affine(image)
    array = sitk.GetArrayFromImage(image)
    layers = [array] if image.GetNumberOfComponentsPerPixel() == 1 else [array[..., n] for n in range(array.shape[-1])]
    stored = [layer.T for layer in layers]
    return stored, StorageOrder.of(affine), [{**entry, "affine": affine} for entry in described]
